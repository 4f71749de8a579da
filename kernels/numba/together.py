"""Compile functions of the engine together with their caller, as one LLVM module.

Numba compiles a function on its own, once for each mix of literal and other arguments, and again as a part of each
function that calls it. Through calls six levels deep this takes three times as long.
"""

from inspect import Parameter, Signature, signature
from weakref import WeakKeyDictionary

from numba.core.compiler import compile_internal
from numba.core.targetconfig import ConfigStack
from numba.extending import intrinsic

from .records import type_of

_compiled = WeakKeyDictionary()  # {module: {(function, argument types): description}}


def compiled_with_caller(function, levels):
    """What compiled code calls as ``function``, whose annotations are its types.

    Only plans whose ``like`` has a number of dimensions in ``levels`` (engine/plan.py) need it, or all plans if that is
    None: for others a call compiles to nothing.
    """
    parameters = list(signature(function).parameters.values())
    kinds = [function.__annotations__["return"], *(parameter.annotation for parameter in parameters)]

    def typed(typingctx, *given):
        dtype = next((argument.dtype for argument in given if hasattr(argument, "dtype")), None)
        found = max((getattr(argument, "level", 0) for argument in given), default=0)
        result, *arguments = (type_of(kind, dtype, found) for kind in kinds)
        return result(*arguments), _nothing if levels and found and found not in levels else call

    def call(context, builder, signature, arguments):
        known = _compiled.setdefault(context.active_code_library, {})
        if (function, signature) not in known:
            known[function, signature] = _compile(context, function, signature)
        return context.call_internal(builder, known[function, signature], signature, arguments)

    typed.__signature__ = Signature([Parameter("typingctx", Parameter.POSITIONAL_OR_KEYWORD), *parameters])
    return intrinsic(typed)


def _nothing(context, builder, signature, arguments):
    return context.get_dummy_value()


def _compile(context, function, signature):
    """Compile into the module of the caller that is being compiled."""
    module, flags = context.active_code_library, ConfigStack().top().copy()
    flags.no_compile = flags.no_rewrites = flags.no_cpython_wrapper = flags.no_cfunc_wrapper = True
    done = compile_internal(
        context.typing_context, context, module, function, signature.args, signature.return_type, flags, {}
    ).fndesc  # fmt: skip
    module.get_function(done.llvm_func_name).linkage = "linkonce_odr"  # removed where all calls were inlined
    return done

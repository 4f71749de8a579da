"""Compile functions of the engine together with those that call them, as one module of LLVM.

Numba compiles each function on its own and again as part of every function that calls it: through calls six levels
deep most of the engine was optimised and turned into machine code five times.
"""

from inspect import Parameter, Signature, signature
from weakref import WeakKeyDictionary

from numba import types
from numba.core.compiler import compile_internal
from numba.core.targetconfig import ConfigStack
from numba.extending import intrinsic

from .records import type_of

_compiled = WeakKeyDictionary()  # {library: {(function, argument types): descriptor}}


def compiled_with_caller(function):
    """What compiled code calls as ``function``, whose annotations are its types.

    A Vector is of the dtype of the first argument that has one.
    """
    parameters = list(signature(function).parameters.values())

    def typed(typingctx, *given):
        dtype = next((kind.dtype for kind in given if hasattr(kind, "dtype")), None)
        arguments = [type_of(parameter.annotation, dtype) for parameter in parameters]
        return type_of(function.__annotations__["return"], dtype)(*arguments), codegen

    def codegen(context, builder, signature, arguments):
        library = context.active_code_library
        known = _compiled.setdefault(library, {})
        key = function, signature.args
        if key not in known:
            known[key] = _compile_into(library, context, function, signature)
        return context.call_internal(builder, known[key], signature, arguments)

    typed.__signature__ = Signature([Parameter("typingctx", Parameter.POSITIONAL_OR_KEYWORD), *parameters])
    return intrinsic(typed)


def _compile_into(library, context, function, signature):
    flags = ConfigStack().top().copy()
    flags.no_rewrites = flags.no_compile = flags.no_cpython_wrapper = flags.no_cfunc_wrapper = True
    done = compile_internal(
        context.typing_context, context, library, function, signature.args, signature.return_type, flags, {}
    )  # fmt: skip
    library.get_function(done.fndesc.llvm_func_name).linkage = "linkonce_odr"  # dropped if inlined everywhere
    return done.fndesc

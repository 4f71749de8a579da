"""Typed Cython from annotated Python: the source that Numba compiles unchanged, for ahead-of-time compilation.

A function's annotations name the types of its arguments, its result and its annotated local names (TYPES, or a record);
other local names have one type that the caller of ``Translator.function`` chooses. Statements are assignments, calls,
``if``, ``while``, ``for ... in range(...)``, ``return``, ``continue`` and ``break``. ``at(pointer, n)`` is pointer
arithmetic, and ``T = type(x)`` names the type to which ``T(y)`` converts.

A record is a class whose annotations name its fields. It becomes a C struct, and a name annotated with it a pointer to
one. Cython's fused types cannot be members of a struct. So a record with a Vector among its fields, or a pointer to
such a record, becomes a struct for float and one for double, and so do the functions that take it: their names end in
the dtype's. Other functions stay one function of a fused type.
"""

import ast
import inspect
import textwrap
from copy import deepcopy

TYPES = {
    "Number": "floating", "int": "Py_ssize_t", "float": "double", "bint": "bint", "None": "void",
    "Vector": "floating*", "Integers": "int64_t*", "Indices": "int32_t*", "Doubles": "double*",
}  # fmt: skip
FIELDS = {**TYPES, "int": "int64_t", "bint": "int64_t"}  # every member takes 8 bytes, as in kernels/engine/records.py
DTYPES = "float", "double"
CONVERSION = "__convert"  # placeholder for <floating>


class Translator:
    """Translator of functions and records; keeps the records and the functions translated for each dtype."""

    def __init__(self, records=()):
        self._records = {record.__name__: record.__annotations__ for record in records}
        self._of_dtype = {name for name in self._records if self._has_vector(name)}
        self._functions_of_dtype = set()

    def _has_vector(self, record):
        kinds = self._records[record].values()
        return any(kind == "Vector" or (kind in self._records and self._has_vector(kind)) for kind in kinds)

    def structs(self):
        """Declarations of all records."""
        return "\n".join(
            self._struct(name, dtype)
            for name in self._records
            for dtype in (DTYPES if name in self._of_dtype else ("floating",))
        )

    def _struct(self, name, dtype):
        members = [f"    {self._type(kind, dtype, FIELDS)} {field}\n" for field, kind in self._records[name].items()]
        return f"cdef struct {self._type(name, dtype).removesuffix('*')}:\n{''.join(members)}\n"

    def _type(self, kind, dtype, types=TYPES):
        """C's name for the type of an annotation; ``dtype`` "floating" stays a fused type."""
        if kind in self._records:
            return f"{kind}_{dtype}*" if kind in self._of_dtype else f"{kind}*"
        return types[kind].replace("floating", dtype)

    def function(self, function, kinds=None, returns=None, local="int"):
        """A typed Cython function, or one for each dtype.

        ``kinds`` and ``returns`` are the annotations of a function that has none of its own.
        """
        tree = ast.parse(textwrap.dedent(inspect.getsource(function))).body[0]
        if kinds is None:
            kinds, returns = [ast.unparse(given.annotation) for given in tree.args.args], ast.unparse(tree.returns)
        if not self._of_dtype.intersection(kinds):
            return self._function(tree, kinds, returns, local, "floating")
        self._functions_of_dtype.add(tree.name)
        return "\n".join(self._function(deepcopy(tree), kinds, returns, local, dtype) for dtype in DTYPES)

    def _function(self, tree, kinds, returns, local, dtype):
        names = [given.arg for given in tree.args.args]
        nodes = list(ast.walk(tree))
        stored = {node.id for node in nodes if isinstance(node, ast.Name) and isinstance(node.ctx, ast.Store)}
        types = dict.fromkeys(sorted(stored - {*names, "T"}), self._type(local, dtype))
        types |= {node.target.id: TYPES["int"] for node in nodes if isinstance(node, ast.For)}
        annotated = [node for node in nodes if isinstance(node, ast.AnnAssign)]
        types |= {node.target.id: self._type(node.annotation.id, dtype) for node in annotated}
        arguments = ", ".join(f"{self._type(kind, dtype)} {name}" for kind, name in zip(kinds, names))
        results = ", ".join(self._type(kind, dtype) for kind in returns.split())
        name = self._name(tree.name, dtype)
        return "".join([
            f"cdef inline {f'({results})' if ',' in results else results} {name}({arguments}) noexcept nogil:\n",
            *(f"    cdef {kind} {name}\n" for name, kind in types.items()),
            *_Statements(lambda called: self._name(called, dtype)).lines(tree.body, 1),
        ]).replace(f"{CONVERSION}(", f"<{dtype}>(")  # fmt: skip

    def _name(self, function, dtype):
        if function not in self._functions_of_dtype:
            return function
        if dtype == "floating":
            raise ValueError(f"{function} takes records of one dtype: a function without such a record cannot call it.")
        return f"{function}_{dtype}"


class _Statements(ast.NodeTransformer):
    """Text of statements, with calls translated to Cython."""

    def __init__(self, name):
        self._name = name

    def lines(self, statements, depth):
        """Lines of Cython; docstrings and pure declarations are left out."""
        for node in statements:
            for line in self._statement(node, depth):
                yield line if line.endswith("\n") else f"{'    ' * depth}{line}\n"

    def _statement(self, node, depth):
        match node:
            case ast.Expr(ast.Constant()) | ast.AnnAssign(value=None) | ast.Assign([ast.Name("T")]):
                return
            case ast.AnnAssign():
                yield f"{node.target.id} = {self._text(node.value)}"
            case ast.For(ast.Name(i), ast.Call(ast.Name("range"), [start, stop, step])) if not _is_constant(step):
                # Cython makes no C loop of a range with a variable step. Steps are positive here.
                start, stop, step = map(self._text, (start, stop, step))
                yield f"for {i} from {start} <= {i} < {stop} by {step}:"
                yield from self.lines(node.body, depth + 1)
            case ast.For():
                yield f"for {node.target.id} in {self._text(node.iter)}:"
                yield from self.lines(node.body, depth + 1)
            case ast.While() | ast.If():
                yield f"{type(node).__name__.lower()} {self._text(node.test)}:"
                yield from self.lines(node.body, depth + 1)
                if node.orelse:
                    yield "else:"
                    yield from self.lines(node.orelse, depth + 1)
            case ast.Expr() | ast.Assign() | ast.AugAssign() | ast.Return() | ast.Continue() | ast.Break():
                yield self._text(node)
            case _:
                raise ValueError(f"line {node.lineno}: no translation for {ast.unparse(node)!r}")

    def _text(self, node):
        return ast.unparse(self.visit(node))

    def visit_Call(self, node):
        self.generic_visit(node)
        match node.func:
            case ast.Name("at"):
                return ast.BinOp(node.args[0], ast.Add(), node.args[1])
            case ast.Name("T"):
                node.func = ast.Name(CONVERSION)
            case ast.Name(name):
                node.func = ast.Name(self._name(name))
        return node


def _is_constant(node):
    return isinstance(node, ast.Constant) or (isinstance(node, ast.UnaryOp) and _is_constant(node.operand))

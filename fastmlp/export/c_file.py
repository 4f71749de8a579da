"""The parts that C files have in common: the comment at the top, the class of a sample, and the self-test."""

from typing import NamedTuple

from fastmlp import __version__

from .c_network import array, float_literal, in_comment

N_TESTS = 8

HEAD = """\
/* {model}, written by fastmlp {version}.

   void {name}_predict({argument}, float outputs[{n_outputs}]);
{notes}
   C99 with <math.h>; it allocates nothing and writes only to outputs, so it is thread-safe. Compiled with
   -D{upper}_SELF_TEST it is a program that tests itself and exits with 0 on success.{int8} */
#include <math.h>
#include <stddef.h>
{declarations}
void {name}_predict({argument}, float outputs[{n_outputs}]);
"""
CLASS = """
int {name}_class({argument});
int {name}_class({argument})
{{
    float outputs[{n_outputs}];
    {name}_predict({given}, outputs);
{choose}}}
"""
LARGEST = """\
    int best = 0;
    for (int j = 1; j < {n_outputs}; j++)
        best = outputs[j] > outputs[best] ? j : best;
    return best;
"""
SELF_TEST = """
#ifdef {upper}_SELF_TEST
#include <stdio.h>

static const {row} {name}_inputs[{n_tests}]{of_row} = {inputs};
static const float {name}_expected[{n_tests}][{n_outputs}] = {expected};

int main(void)
{{
    int wrong = 0;
    float largest = 0.0f;
    for (size_t r = 0; r < {n_tests}; r++) {{
        float outputs[{n_outputs}];
        {name}_predict({of_test}{name}_inputs[r], outputs);
        for (size_t j = 0; j < {n_outputs}; j++) {{
            float target = {name}_expected[r][j];
            float error = fabsf(outputs[j] - target) / (1.0f + fabsf(target));
            largest = error > largest ? error : largest;
            wrong += !(error <= {allowed}); /* NaN is wrong as well */
        }}
    }}
    printf("{name}: largest error %g, allowed %g, %d outputs wrong\\n", (double)largest, (double){allowed}, wrong);
    return wrong != 0;
}}
#endif
"""


class Interface(NamedTuple):
    """How a C program calls the model.

    Attributes
    ----------
    name : str
        Prefix of names.
    n_outputs : int
    argument, given : str
        The parameter of the functions, and its name.
    row, of_row, of_test : str
        Type of a row of the self-test, its array bounds, and the operator that makes it an argument.
    """

    name: str
    n_outputs: int
    argument: str
    given: str
    row: str
    of_row: str
    of_test: str


def file_text(interface, title, notes, declarations, body, classes, choose, inputs, rounded):
    """The C file.

    ``notes`` are lines of the comment at the top. ``classes`` are labels, if ``choose`` has the statements that return
    the number of one. ``inputs`` is the initializer of the rows of the self-test.
    """
    names = {**interface._asdict(), "upper": interface.name.upper()}
    if choose:
        notes += f"   int {interface.name}_class({interface.argument});\n"
        notes += f"   Classes, from 0 on: {in_comment(classes.tolist())}.\n"
    quantization = "\n\n   Weights are rounded to 8 bits. On the samples of the self-test outputs are off by up to"
    quantization = f"{quantization} {rounded.error:.2g} of 1 + |output|." if rounded.int8 else ""
    head = HEAD.format(
        model=title, version=__version__, notes=notes, declarations=declarations, int8=quantization, **names
    )
    of_class = CLASS.format(choose=choose.format(**names), **names) if choose else ""
    test = SELF_TEST.format(
        n_tests=len(rounded.expected), inputs=inputs, expected=array(rounded.expected),
        allowed=float_literal(rounded.allowed), **names,
    )  # fmt: skip
    return f"{head}{body}{of_class}{test}"

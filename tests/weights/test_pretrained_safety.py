"""Hostile and broken files: nothing runs, nothing large is allocated, one sentence comes out."""

import datetime
import gzip
import io
import json
import os
import pickle
import pickletools
import resource
import struct
import tarfile
import time
import zipfile

import numpy as np
import pytest
import torch

from videonl.errors import CheckpointError
from videonl.weights import read_content


class Payload:
    """Touches a file when it is unpickled by anything that runs pickles."""

    def __init__(self, function, *arguments):
        self.function, self.arguments = function, arguments

    def __reduce__(self):
        return self.function, self.arguments


def refuse(path, message):
    before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    start = time.process_time()
    with pytest.raises(CheckpointError, match=message) as caught:
        read_content(path)
    assert time.process_time() - start < 5
    assert resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before < 200_000  # KiB
    assert len(str(caught.value)) < 1500
    assert str(path) in str(caught.value)


def file_with(tmp_path, data, name="weights.pkl"):
    path = tmp_path / name
    path.write_bytes(data)
    return path


def payloads(marker):
    touch = f"touch {marker}"
    return {
        "os.system": Payload(os.system, touch),
        "builtins.eval": Payload(eval, f"open({str(marker)!r}, 'w')"),
        "builtins.exec": Payload(exec, f"open({str(marker)!r}, 'w')"),
        "os.popen": Payload(os.popen, touch),
        "builtins.getattr": Payload(getattr, "text", "upper"),
    }


@pytest.mark.parametrize("protocol", [0, 2, 4])
@pytest.mark.parametrize("name", list(payloads("")))
def test_a_malicious_pickle_does_not_run(tmp_path, name, protocol):
    marker = tmp_path / "ran"
    blobs = {"conv1_w": np.zeros(3, "f4"), "extra": payloads(marker)[name]}
    path = file_with(tmp_path, pickle.dumps({"blobs": blobs}, protocol))
    refuse(path, r"asks for \S+.*nothing was run")
    assert not marker.exists()


@pytest.mark.parametrize("zipped", [True, False])
@pytest.mark.parametrize("name", list(payloads("")))
def test_a_malicious_torch_file_does_not_run(tmp_path, name, zipped):
    marker = tmp_path / "ran"
    path = tmp_path / "weights.pth"
    content = {"state_dict": {"a": torch.zeros(3)}, "meta": payloads(marker)[name]}
    torch.save(content, path, _use_new_zipfile_serialization=zipped)
    refuse(path, r"asks for \S+.*nothing was run")
    assert not marker.exists()


def test_a_payload_in_an_object_array_does_not_run(tmp_path):
    marker = tmp_path / "ran"
    array = np.array([payloads(marker)["os.system"]], dtype=object)
    refuse(file_with(tmp_path, pickle.dumps({"a": array}, 2)), "asks for")
    refuse(file_with(tmp_path, pickle.dumps({"a": np.array([None, {}])}, 2)), "only numbers")
    assert not marker.exists()


def test_allowed_names_used_in_an_unknown_way(tmp_path):
    for name in (b"cnumpy.core.multiarray\n_reconstruct\n", b"cnumpy\nndarray\n"):
        refuse(file_with(tmp_path, b"\x80\x02}U\x01a" + name + b"s."), "an unknown way")
        petabyte = b"(J\x00\x00\x00\x7ftR"
        refuse(file_with(tmp_path, b"\x80\x02}U\x01a" + name + petabyte + b"s."), "an unknown way")
    refuse(file_with(tmp_path, b"\x80\x02cnumpy.core.multiarray\nscalar\n)R."), "an unknown way")


def array_pickle(shape, data, code="f4"):
    dtype = b"cnumpy\ndtype\nX\x02\x00\x00\x00" + code.encode() + b"K\x00K\x01\x87R"
    dims = b"(" + b"".join(b"\x8a\x08" + struct.pack("<q", n) for n in shape) + b"t"
    start = b"cnumpy.core.multiarray\n_reconstruct\ncnumpy\nndarray\nK\x00\x85U\x01b\x87R"
    state = b"(K\x01" + dims + dtype + b"\x89U" + bytes([len(data)]) + data + b"tb"
    return b"\x80\x02}U\x01a" + start + state + b"s."


def test_tensors_in_a_plain_pickle_are_named(tmp_path):
    data = pickle.dumps({"a": torch.ones(2)})
    refuse(file_with(tmp_path, data), "written by pickle.dump.*write it with torch.save")


def test_arrays_that_lie_about_their_size(tmp_path):
    good = read_content(file_with(tmp_path, array_pickle((2,), b"\0\0\x80?\0\0\0@")))
    assert good.data["a"].tolist() == [1, 2]
    for shape in ((1 << 50,), (1 << 40, 1 << 40), (3,), (-2,), (2, 0)):
        refuse(file_with(tmp_path, array_pickle(shape, b"\0" * 8)), "array of shape")
    refuse(file_with(tmp_path, array_pickle((1,) * 9, b"\0" * 4)), "array of shape")
    for code in ("O8", "V8", "U2", "M8", "f9", "i3"):
        refuse(file_with(tmp_path, array_pickle((1,), b"\0" * 8, code)), "only numbers")


@pytest.mark.parametrize(
    ("body", "message"),
    [
        (b"N" + b"r\xff\xff\xff\xff" + b".", None),  # a memo of 2^32 entries
        (b"\x8e" + struct.pack("<Q", 1 << 50) + b"x.", "pickle"),  # a petabyte of bytes
        (b"\x96" + struct.pack("<Q", 1 << 40) + b"x.", "pickle"),  # a terabyte bytearray
        (b"B" + struct.pack("<I", 0xFFFFFFF0) + b"x.", "pickle"),
        (b"\x8b" + struct.pack("<I", 0x7FFFFFF0) + b"x.", "pickle"),
        (b"\x94" * 3 + b".", "damaged"),
        (b"(" * 1000 + b".", "damaged"),
        (b"P1\n.", "refused"),
        (b"\x82\x01.", "refused|damaged"),
        (b"h\x07.", "damaged"),
        (b"K\x01", "cut off|damaged"),
    ],
)
def test_instructions_that_lie(tmp_path, body, message):
    path = file_with(tmp_path, b"\x80\x04" + body)
    if message is None:
        assert read_content(path).data is None
    else:
        refuse(path, message)


def test_nests_that_explode(tmp_path):
    # a tuple of tuples of tuples … 2^100 leaves
    steps = (b"h%ch%c\x86q%c0" % (n, n, n + 1) for n in range(100))
    laughs = b")q\x000" + b"".join(steps)
    refuse(file_with(tmp_path, b"\x80\x02" + laughs + b"hd."), "unfolds to over")
    key = b"\x80\x02" + laughs + b"}hdNs."
    refuse(file_with(tmp_path, key), "neither a name nor a number")
    key = b"\x80\x02}(" + b"N" * 9 + b"tNs."  # a tuple is hashed anew each time it is a key
    refuse(file_with(tmp_path, key), "neither a name nor a number")
    key = b"\x80\x02}\x8a\x08" + struct.pack("<q", 2**61 - 1) + b"Ns."  # one hash for all multiples
    refuse(file_with(tmp_path, key), "neither a name nor a number")
    deep = b"\x80\x02" + b"]" * 100_000 + b"a" * 99_999 + b"."
    refuse(file_with(tmp_path, deep), "deeper")


@pytest.mark.slow
def test_what_is_named_often_is_looked_at_once(tmp_path):
    many = b"\x80\x02](" + b"N" * 80_000 + b"eq\x00](" + b"h\x00" * 80_000 + b"e."
    refuse(file_with(tmp_path, many), "unfolds to over")


def torch_bytes(content):
    buffer = io.BytesIO()
    torch.save(content, buffer)
    return buffer.getvalue()


def rezipped(data, *, compression=zipfile.ZIP_STORED, change=None):
    buffer = io.BytesIO()
    with (
        zipfile.ZipFile(io.BytesIO(data)) as old,
        zipfile.ZipFile(buffer, "w", compression) as new,
    ):
        for entry in old.infolist():
            content = old.read(entry)
            new.writestr(entry.filename, change(entry.filename, content) if change else content)
    return buffer.getvalue()


def test_zip_bombs_and_lying_storages(tmp_path):
    data = torch_bytes({"a": torch.zeros(1000)})
    assert read_content(file_with(tmp_path, data, "a.pth")).data["a"].shape == (1000,)
    bomb = rezipped(data, compression=zipfile.ZIP_DEFLATED)
    refuse(file_with(tmp_path, bomb, "b.pth"), "compressed zip")
    numel = b"M\xe8\x03"  # 1000 in the pickle
    for wrong in (b"J\xff\xff\xff\x7f", b"\x8a\x07" + b"\xff" * 6 + b"\x00", b"K\x01"):
        lying = rezipped(
            data,
            change=lambda name, content, wrong=wrong: (
                content.replace(numel, wrong) if name.endswith("data.pkl") else content
            ),
        )
        refuse(file_with(tmp_path, lying, "c.pth"), "storage .* claims|more than the file")
    huge = Payload(bytearray, 1 << 50)
    refuse(file_with(tmp_path, torch_bytes({"a": huge}), "d.pth"), "asks for")
    refuse(
        file_with(tmp_path, data[: len(data) // 2], "e.pth"), "damaged|cannot be read|not a supp"
    )
    refuse(file_with(tmp_path, rezipped(data, change=lambda *_: b""), "f.pth"), "pickle")
    empty = io.BytesIO()
    zipfile.ZipFile(empty, "w").close()
    refuse(file_with(tmp_path, empty.getvalue(), "g.pth"), "not of torch.save")


def test_old_torch_files_that_lie(tmp_path):
    path = tmp_path / "a.pth"
    torch.save({"a": torch.zeros(1000)}, path, _use_new_zipfile_serialization=False)
    assert read_content(path).data["a"].shape == (1000,)
    data = path.read_bytes()
    lying = data.replace(b"M\xe8\x03", b"J\xff\xff\xff\x7f")
    refuse(file_with(tmp_path, lying, "b.pth"), "more than the file")
    refuse(file_with(tmp_path, data[:-2000], "c.pth"), "cannot be read|more than the file")


def test_metadata_is_left_out_and_not_imported(tmp_path):
    path = tmp_path / "mm.pth"
    weight = torch.arange(12.0).reshape(3, 4)
    content = {
        "meta": {"time": datetime.datetime(2022, 8, 12), "cfg": "text", "seed": np.float64(3)},
        "state_dict": {"a": weight, "b": weight.t(), "c": torch.nn.Parameter(weight[1:, 1:])},
    }
    torch.save(content, path)
    found = read_content(path)
    for key, value in content["state_dict"].items():
        assert torch.equal(found.data["state_dict"][key], value.detach())
    assert found.data["meta"]["cfg"] == "text"
    assert found.data["meta"]["time"] is None
    assert any("datetime" in text for text in found.skipped)
    with zipfile.ZipFile(path) as old, zipfile.ZipFile(tmp_path / "b.pth", "w") as new:
        new.writestr("mm/moredata.pkl", b"not the description")
        for entry in old.infolist():
            new.writestr(entry.filename, old.read(entry))
    again = read_content(tmp_path / "b.pth").data["state_dict"]
    assert torch.equal(again["b"], weight.t())


def test_safetensors_that_lie(tmp_path):
    from safetensors.torch import save

    good = save({"a": torch.ones(4)})
    assert read_content(file_with(tmp_path, good, "a.safetensors")).data["a"].sum() == 4
    for header in (
        {"a": {"dtype": "F32", "shape": [1 << 48], "data_offsets": [0, 1 << 50]}},
        {"a": {"dtype": "F32", "shape": [4], "data_offsets": [-16, 16]}},
        {"a": {"dtype": "F32", "shape": [1 << 40], "data_offsets": [0, 16]}},
        {"a": {"dtype": "OBJ", "shape": [4], "data_offsets": [0, 16]}},
        {"a": None},
    ):
        text = json.dumps(header).encode()
        data = struct.pack("<Q", len(text)) + text + b"\0" * 16
        refuse(file_with(tmp_path, data, "b.safetensors"), "outside of the file|damaged")
    huge = struct.pack("<Q", 1 << 50) + b"{" + b" " * 100
    refuse(file_with(tmp_path, huge, "c.safetensors"), "damaged safetensors")
    refuse(file_with(tmp_path, good[:-3], "d.safetensors"), "outside of the file|damaged")


def tar_bytes():
    buffer = io.BytesIO()
    with tarfile.open(fileobj=buffer, mode="w") as archive:
        archive.addfile(tarfile.TarInfo("a.pkl"))
    return buffer.getvalue()


@pytest.mark.parametrize(
    ("data", "message"),
    [
        (gzip.compress(b"x", mtime=0), "gzip archive; unpack"),
        (tar_bytes(), "tar archive; unpack"),
        (b"\n <!DOCTYPE html><html>404", "web page"),
        (b"<?xml version='1.0'?><Error>AccessDenied</Error>", "web page"),
        (b"\x89HDF\r\n\x1a\n....", "HDF5"),
        (b"version https://git-lfs.github.com/spec/v1\n", "git lfs pull"),
        (b"", "empty"),
        (b"\x00\x01\x02\x03 nonsense", "not a supported checkpoint"),
        (b"plain text", "not a supported checkpoint"),
        (b"\x80", "damaged pickle"),
    ],
)
@pytest.mark.parametrize("suffix", [".pkl", ".pth", ".safetensors"])
def test_files_that_are_no_checkpoints(tmp_path, data, message, suffix):
    path = file_with(tmp_path, data, f"weights{suffix}")
    refuse(path, "damaged safetensors" if "supported" in message and suffix[1] == "s" else message)


def test_missing_files_and_folders(tmp_path):
    refuse(tmp_path / "missing.pth", "cannot be read")
    refuse(tmp_path, "is a folder")


def test_python_2_text_and_byte_orders(tmp_path):
    content = {
        "a": np.arange(6, dtype=">f4").reshape(2, 3).T,
        "b": np.float64(0.5),
        "c": np.int8(3),
    }
    for protocol in range(6):
        found = read_content(file_with(tmp_path, pickle.dumps(content, protocol))).data
        assert np.array_equal(found["a"].numpy(), content["a"])
        assert (found["b"], found["c"]) == (0.5, 3)
    text = "S'{}'\n".format  # Python 2's oldest protocol, the one it takes if nothing is said
    made = "cnumpy.core.multiarray\n_reconstruct\n(cnumpy\nndarray\n(I0\nt" + text("b") + "tR"
    dtype = f"cnumpy\ndtype\n({text('f4')}I0\nI1\ntR(I3\n{text('<')}NNNI-1\nI-1\nI0\ntb"
    array = f"{made}(I1\n(I1\nt{dtype}I00\n" + text(r"\x00\x00\x80\xbf") + "tb"
    oldest = f"(d{text('a')}{array}s.".encode()
    assert read_content(file_with(tmp_path, oldest)).data["a"].tolist() == [-1.0]
    for odd in (b"f1", b"b2", b"f", b"O8"):
        refuse(file_with(tmp_path, oldest.replace(b"f4", odd)), "contains only numbers")
    names = {name for _, name, _ in pickletools.genops(pickle.dumps(content, 2)) if name}
    assert any("_codecs" in str(name) for name in names)

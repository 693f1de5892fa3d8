"""``data get`` and ``data list``: against a server on this machine and local copies, with a small manifest."""

from __future__ import annotations

import gzip
import hashlib
import io
import tarfile
import threading
from collections.abc import Iterator
from dataclasses import replace
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import numpy as np
import pytest
from click.testing import CliRunner, Result
from judges.formats import idx

import eventsim as es
from eventsim.cli.main import main
from eventsim.data import datasets, download
from eventsim.data import manifest as dataset_manifest


def md5(content: bytes) -> str:
    return hashlib.md5(content).hexdigest()


RNG = np.random.default_rng(0)
PLAIN = {
    "t10k-images-idx3-ubyte": idx(RNG.integers(0, 256, (20, 28, 28), dtype=np.uint8)),
    "t10k-labels-idx1-ubyte": idx(RNG.integers(0, 10, 20, dtype=np.uint8)),
}
PACKED = {f"{name}.gz": gzip.compress(content, mtime=0) for name, content in PLAIN.items()}
# The same content, packed by someone else.
REPACKED = {f"{name}.gz": gzip.compress(content, 1, mtime=5) for name, content in PLAIN.items()}
BATCHES = {
    "data_batch_1.bin": RNG.integers(0, 10, (2, 3073), dtype=np.uint8).tobytes(),
    "test_batch.bin": RNG.integers(0, 10, (2, 3073), dtype=np.uint8).tobytes(),
}
IMAGES = "t10k-images-idx3-ubyte.gz"


def archive(level: int) -> bytes:
    packed = io.BytesIO()
    with tarfile.open(fileobj=packed, mode="w:gz", compresslevel=level) as tar:
        for name, content in BATCHES.items():
            member = tarfile.TarInfo(f"cifar-10-batches-bin/{name}")
            member.size = len(content)
            tar.addfile(member, io.BytesIO(content))
    return packed.getvalue()


ARCHIVE = archive(9)
FILES = PACKED | {"cifar-10-binary.tar.gz": ARCHIVE}


class Server(ThreadingHTTPServer):
    """Serves FILES below /, wrongly where a path starts with the name of a fault."""

    daemon_threads = True
    asked: list[str]


class Handler(BaseHTTPRequestHandler):
    server: Server

    def do_GET(self) -> None:
        self.server.asked.append(self.path)
        fault, _, name = self.path.strip("/").rpartition("/")
        content = FILES.get(name)
        if content is None or fault == "absent":
            self.send_error(404)
            return
        if fault == "pieces":
            self.send_in_pieces(content)
            return
        self.send_response(200)
        if fault == "endless":
            self.end_headers()
            try:
                while True:
                    self.wfile.write(bytes(2**16))
            except OSError:
                return
        self.send_header("Content-Length", str(len(content)))
        self.end_headers()
        if fault == "changed":
            content = content[:-1] + bytes([content[-1] ^ 1])
        self.wfile.write(content[: len(content) // 2] if fault == "cut" else content)

    def send_in_pieces(self, content: bytes) -> None:
        """Rightly, by 256 bytes, and without a length: as proxies may."""
        self.protocol_version, self.close_connection = "HTTP/1.1", True
        self.send_response(200)
        self.send_header("Transfer-Encoding", "chunked")
        self.end_headers()
        for start in range(0, len(content), 256):
            piece = content[start : start + 256]
            self.wfile.write(b"%x\r\n%s\r\n" % (len(piece), piece))
            self.wfile.flush()
        self.wfile.write(b"0\r\n\r\n")

    def log_message(self, *arguments: object) -> None:
        pass


@pytest.fixture
def server(monkeypatch) -> Iterator[Server]:
    monkeypatch.setenv("NO_PROXY", "127.0.0.1")
    server = Server(("127.0.0.1", 0), Handler)
    server.asked = []
    thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.01})
    thread.start()
    yield server
    server.shutdown()
    thread.join()
    server.server_close()


@pytest.fixture
def manifest(server, tmp_path, monkeypatch):
    """Make a manifest with the server's addresses, one for each fault given ("": none)."""

    def make(*faults: str) -> dict[str, dataset_manifest.KnownSet]:
        base = f"http://127.0.0.1:{server.server_address[1]}/"
        addresses = [base + (f"{fault}/" if fault else "") for fault in faults]
        about = f'licence = "free"\nhomepage = "http://x"\naddresses = {addresses!r}\nclasses = {list("0123456789")!r}\n'
        lines = [f'[mnist]\ntitle = "MNIST"\nformat = "idx"\nimages = {{ test = 20 }}\n{about}']
        for (name, content), role in zip(PLAIN.items(), ("images", "labels"), strict=True):
            packed = PACKED[f"{name}.gz"]
            lines.append(f'[[mnist.files]]\nname = "{name}.gz"\nsplit = "test"\nrole = "{role}"\nbytes = {len(packed)}')
            lines.append(f'md5 = "{md5(packed)}"\ncontent_md5 = "{md5(content)}"')
        lines.append(f'[cifar-10]\ntitle = "CIFAR-10"\nformat = "cifar"\nimages = {{ train = 2, test = 2 }}\n{about}')
        lines.append('[[cifar-10.files]]\nname = "cifar-10-binary.tar.gz"\nform = "binary"\nfolder = "cifar-10-batches-bin"')
        members = ", ".join(
            f'{{ name = "{name}", split = "{split}", md5 = "{md5(content)}" }}'
            for (name, content), split in zip(BATCHES.items(), ("train", "test"), strict=True)
        )
        lines.append(f'bytes = {len(ARCHIVE)}\nmd5 = "{md5(ARCHIVE)}"\nmembers = [{members}]')
        lines.append('[imagenet]\ntitle = "x"\nformat = "folder"\nlicence = "own"\nhomepage = "x"\nimages = {}\nby_hand = "ask them"')
        path = tmp_path / "manifest.toml"
        path.write_text("\n".join(lines))
        sets = dataset_manifest.read_manifest(path)
        monkeypatch.setattr(dataset_manifest, "known_sets", lambda: sets)
        return sets

    monkeypatch.setenv("EVENTSIM_DATA", str(tmp_path / "data"))
    return make


def run(*arguments: str | Path) -> Result:
    return CliRunner().invoke(main, ["data", *map(str, arguments)])


def refused(*arguments: str | Path) -> str:
    result = run(*arguments)
    assert result.exit_code == 1
    assert result.stderr.count("\n") == 1
    assert result.stderr.startswith("eventsim: error: ")
    return result.stderr


def left_in(folder: Path) -> list[str]:
    return sorted(str(path.relative_to(folder)) for path in folder.rglob("*") if path.is_file())


def write(folder: Path, files: dict[str, bytes]) -> None:
    folder.mkdir(parents=True, exist_ok=True)
    for name, content in files.items():
        (folder / name).write_bytes(content)


def test_download(manifest, server, tmp_path):
    manifest("")
    result = run("get", "mnist")
    assert result.exit_code == 0, result.stderr
    assert result.stdout.count("downloaded from http://127.0.0.1") == 2
    assert "licence free" in result.stdout
    assert result.stderr == ""
    assert left_in(tmp_path / "data") == sorted(f"mnist/{name}" for name in PACKED)
    assert len(datasets.load("mnist")[0]) == 20
    asked = len(server.asked)
    again = run("get", "mnist")
    assert again.stdout.count("present, verified") == 2
    assert len(server.asked) == asked
    # A damaged file is replaced.
    (tmp_path / "data" / "mnist" / IMAGES).write_bytes(PACKED[IMAGES][:-5])
    assert run("get", "mnist").stdout.count("downloaded") == 1
    assert len(datasets.load("mnist")[0]) == 20


def test_a_download_in_pieces(manifest, tmp_path):
    manifest("pieces")
    assert run("get", "mnist").stdout.count("downloaded from") == 2
    assert len(datasets.load("mnist")[0]) == 20


def test_an_unpacked_file_of_no_known_check_sum_is_compared_with_the_packed_one(manifest, tmp_path, monkeypatch):
    sets = manifest("")
    files = tuple(replace(file, content_md5="") for file in sets["mnist"].files)
    changed = sets | {"mnist": replace(sets["mnist"], files=files)}
    monkeypatch.setattr(dataset_manifest, "known_sets", lambda: changed)
    place = tmp_path / "data" / "mnist"
    write(place, PLAIN)
    assert run("get", "mnist").exit_code == 0
    name = IMAGES.removesuffix(".gz")
    (place / name).write_bytes(PLAIN[name][:-1] + b"\0")
    assert f"{name}: not the published file" in refused("get", "mnist")


def test_download_of_an_archive(manifest, tmp_path):
    manifest("")
    assert run("get", "cifar-10", "--to", tmp_path / "other").exit_code == 0
    assert left_in(tmp_path / "other") == ["cifar-10-binary.tar.gz"]
    assert "present, verified" in run("get", "cifar-10", "--to", tmp_path / "other").stdout
    assert datasets.load("cifar-10", "train", tmp_path / "other")[0].shape == (2, 32, 32, 3)


@pytest.mark.parametrize(
    ("fault", "reason"),
    [
        ("absent", "404 Not Found"),
        ("changed", "another check sum"),
        ("cut", "the connection broke off"),
        ("endless", "sends far more than"),
    ],
)
def test_faulty_servers(manifest, tmp_path, fault, reason):
    manifest(fault)
    error = refused("get", "mnist")
    assert IMAGES in error
    assert reason in error
    assert "--from FOLDER" in error
    assert left_in(tmp_path / "data") == []
    # The next address is tried.
    manifest(fault, "")
    assert run("get", "mnist").exit_code == 0
    assert len(left_in(tmp_path / "data")) == 2


def test_no_network(manifest, server, tmp_path):
    manifest("")
    server.shutdown()
    server.server_close()
    error = refused("get", "mnist")
    assert "no connection" in error
    assert left_in(tmp_path / "data") == []


def test_interrupted(manifest, tmp_path):
    def interrupt(name: str, done: int, total: int) -> None:
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        download.get(manifest("")["mnist"], tmp_path / "data", progress=interrupt)
    assert left_in(tmp_path / "data") == []


def test_progress(manifest, tmp_path):
    seen = []
    download.get(manifest("")["mnist"], tmp_path / "data", progress=lambda *report: seen.append(report))
    assert (IMAGES, len(PACKED[IMAGES]), len(PACKED[IMAGES])) in seen
    assert all(done <= total for _, done, total in seen)


def test_target_that_cannot_be_written(manifest, tmp_path):
    manifest("")
    (tmp_path / "file").write_bytes(b"")
    assert "cannot be written" in refused("get", "mnist", "--to", tmp_path / "file")


@pytest.mark.parametrize("below", ["", "mnist"])
@pytest.mark.parametrize("files", [PACKED, REPACKED, PLAIN])
def test_local_copies(manifest, server, tmp_path, files, below):
    manifest("")
    write(tmp_path / "copies" / below, files)
    assert run("get", "mnist", "--from", tmp_path / "copies").stdout.count("copied from") == 2
    assert left_in(tmp_path / "data") == sorted(f"mnist/{name}" for name in files)
    assert len(datasets.load("mnist")[0]) == 20
    assert run("get", "mnist").stdout.count("present, verified") == 2
    assert server.asked == []


@pytest.mark.parametrize("form", ["archive", "repacked archive", "within cifar-10", "folder", "folder itself"])
def test_local_copies_of_an_archive(manifest, server, tmp_path, form):
    manifest("")
    source = copies = tmp_path / "copies"
    if form == "archive":
        write(copies, {"cifar-10-binary.tar.gz": ARCHIVE})
    elif form == "repacked archive":
        write(copies, {"cifar-10-binary.tar.gz": archive(1)})
    elif form == "within cifar-10":
        write(copies / "cifar-10", {"cifar-10-binary.tar.gz": ARCHIVE})
    else:
        write(copies / "cifar-10-batches-bin", BATCHES)
        source = copies / "cifar-10-batches-bin" if form == "folder itself" else copies
    result = run("get", "cifar-10", "--from", source)
    assert result.exit_code == 0, result.stderr
    assert datasets.load("cifar-10")[0].shape == (2, 32, 32, 3)
    assert "present, verified" in run("get", "cifar-10").stdout
    assert server.asked == []


@pytest.mark.parametrize("name", [IMAGES, "t10k-images-idx3-ubyte"])
@pytest.mark.parametrize("damage", [lambda content: content[:-3], lambda content: content[:-1] + bytes([content[-1] ^ 1])])
def test_wrong_local_copies(manifest, tmp_path, name, damage):
    manifest("")
    files = PACKED if name.endswith(".gz") else PLAIN
    write(tmp_path / "copies", files | {name: damage(files[name])})
    assert f"copies/{name}: not the published file" in refused("get", "mnist", "--from", tmp_path / "copies")
    assert left_in(tmp_path / "data") == []


def test_wrong_local_batches(manifest, tmp_path):
    manifest("")
    copies = tmp_path / "copies"
    write(copies / "cifar-10-batches-bin", {"data_batch_1.bin": BATCHES["data_batch_1.bin"]})
    assert "has no test_batch.bin" in refused("get", "cifar-10", "--from", copies)
    write(copies / "cifar-10-batches-bin", {"test_batch.bin": bytes(6146)})
    assert "test_batch.bin: not the published file" in refused("get", "cifar-10", "--from", copies)
    write(copies, {"cifar-10-binary.tar.gz": ARCHIVE[:-50]})
    assert "cifar-10-binary.tar.gz: not the published file" in refused("get", "cifar-10", "--from", copies)
    assert "has none of cifar-10-binary.tar.gz" in refused("get", "cifar-10", "--from", tmp_path)
    assert "no such folder" in refused("get", "cifar-10", "--from", tmp_path / "nowhere")


def test_damaged_unpacked_files_are_named(manifest, tmp_path):
    """They would be read before whatever is downloaded."""
    manifest("")
    write(tmp_path / "data" / "mnist", {"t10k-images-idx3-ubyte": b"x"})
    assert "t10k-images-idx3-ubyte: not the published file" in refused("get", "mnist")
    write(tmp_path / "data" / "cifar-10-batches-bin", {"test_batch.bin": b"x"})
    assert "test_batch.bin: not the published file" in refused("get", "cifar-10")


def test_sets_that_are_not_to_be_had(manifest):
    manifest("")
    assert "imagenet cannot be downloaded: ask them" in refused("get", "imagenet")
    assert "unknown data set 'nothing'; known: mnist, cifar-10, imagenet" in refused("get", "nothing")
    assert "made of the digits of mnist when it is asked for; get mnist" in refused("get", "mnist-saccades")


def test_list(manifest, tmp_path):
    manifest("")
    write(tmp_path / "data" / "cifar-10-batches-bin", {"test_batch.bin": BATCHES["test_batch.bin"]})
    write(tmp_path / "data" / "mnist", PACKED)
    lines = run("list").stdout.splitlines()
    rows = {line.split()[0]: line for line in lines if line}
    assert rows["mnist"].endswith(str(tmp_path / "data" / "mnist"))
    assert rows["cifar-10"].endswith(f"{tmp_path / 'data' / 'cifar-10-batches-bin'} (test)")
    assert "by hand" in rows["imagenet"]
    assert rows["imagenet"].endswith("no")
    assert lines[-1].startswith(f"Looked for in {tmp_path / 'data'}")


def test_errors_are_of_the_library(manifest, tmp_path):
    with pytest.raises(es.DatasetError, match=r"404"):
        download.get(manifest("absent")["mnist"], tmp_path / "data")


def test_samples(tmp_path):
    said = run("get", "samples", "--to", tmp_path / "new")
    assert said.exit_code == 0
    names = ["networks/lenet-mnist.h5", *(f"datasets/samples/digit-{digit}.png" for digit in range(10))]
    assert said.stdout.split() == [str(tmp_path / "new" / name) for name in names]
    root = Path(es.__file__).parents[1]
    assert all((tmp_path / "new" / name).read_bytes() == (root / name).read_bytes() for name in names)
    (tmp_path / "new" / names[3]).unlink()
    assert run("get", "samples", "--to", tmp_path / "new").exit_code == 0  # what is missing comes back
    assert (tmp_path / "new" / names[3]).exists()


def test_samples_replace_nothing(tmp_path):
    mine = tmp_path / "datasets" / "samples" / "digit-3.png"
    mine.parent.mkdir(parents=True)
    mine.write_text("mine")
    assert "digit-3.png: exists and is another file" in refused("get", "samples", "--to", tmp_path)
    assert mine.read_text() == "mine"
    assert not (tmp_path / "networks").exists()
    assert "cannot be written" in refused("get", "samples", "--to", mine)
    assert run("get", "samples", "--from", tmp_path).exit_code == 2

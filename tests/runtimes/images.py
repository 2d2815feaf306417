"""A container image made here, of Debian's static busybox and nothing else: no registry is asked."""

import hashlib
import io
import json
import tarfile
from pathlib import Path

BUSYBOX = Path("/bin/busybox")
IMAGE = "docker.io/weft/busybox:tests"
APPLETS = ("cat", "echo", "httpd", "ip", "mkdir", "nc", "ping", "sh", "sleep", "wget")
FOREVER = "2147483647"


def write_image(file: Path, environment: dict[str, str]) -> None:
    """Write an image as an archive of the OCI layout (image-spec v1), which containerd and podman both load.

    What it starts if nothing else is asked for is a process that sleeps: a pod's sandbox needs no more. `environment`
    is that of all its containers; a lab's mark in it lets ``weft lab down`` find them.
    """
    layer = _layer()
    config = {
        "architecture": "amd64",
        "os": "linux",
        "config": {
            "Entrypoint": ["/bin/sleep", FOREVER],
            "Env": ["PATH=/bin", *(f"{key}={value}" for key, value in environment.items())],
        },
        "rootfs": {"type": "layers", "diff_ids": [_digest(layer)]},
    }
    said = json.dumps(config).encode()
    manifest = json.dumps(
        {
            "schemaVersion": 2,
            "mediaType": "application/vnd.oci.image.manifest.v1+json",
            "config": _descriptor("application/vnd.oci.image.config.v1+json", said),
            "layers": [_descriptor("application/vnd.oci.image.layer.v1.tar", layer)],
        }
    ).encode()
    names = {"io.containerd.image.name": IMAGE, "org.opencontainers.image.ref.name": IMAGE}
    index = {
        "schemaVersion": 2,
        "manifests": [_descriptor("application/vnd.oci.image.manifest.v1+json", manifest) | {"annotations": names}],
    }
    with tarfile.open(file, "w") as archive:
        _add(archive, "oci-layout", json.dumps({"imageLayoutVersion": "1.0.0"}).encode())
        _add(archive, "index.json", json.dumps(index).encode())
        for blob in (layer, said, manifest):
            _add(archive, f"blobs/sha256/{_digest(blob).partition(':')[2]}", blob)


def _layer() -> bytes:
    written = io.BytesIO()
    with tarfile.open(fileobj=written, mode="w") as layer:
        for folder in ("bin", "etc", "proc", "sys", "dev", "tmp", "www"):
            entry = tarfile.TarInfo(folder)
            entry.type, entry.mode = tarfile.DIRTYPE, 0o755
            layer.addfile(entry)
        _add(layer, "bin/busybox", BUSYBOX.read_bytes(), mode=0o755)
        for applet in APPLETS:
            link = tarfile.TarInfo(f"bin/{applet}")
            link.type, link.linkname = tarfile.SYMTYPE, "busybox"
            layer.addfile(link)
        _add(layer, "www/index.html", b"weft\n")
    return written.getvalue()


def _add(archive: tarfile.TarFile, name: str, content: bytes, *, mode: int = 0o644) -> None:
    entry = tarfile.TarInfo(name)
    entry.size, entry.mode = len(content), mode
    archive.addfile(entry, io.BytesIO(content))


def _descriptor(media_type: str, content: bytes) -> dict[str, object]:
    return {"mediaType": media_type, "digest": _digest(content), "size": len(content)}


def _digest(content: bytes) -> str:
    return f"sha256:{hashlib.sha256(content).hexdigest()}"

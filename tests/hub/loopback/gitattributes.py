"""Which files a repository keeps as large ones: by its .gitattributes, by size, or because they are binary."""

from __future__ import annotations

from fnmatch import fnmatch

SIZE_LIMIT = 10 * 1024 * 1024
ALL_KINDS = (
    "*.7z *.arrow *.bin *.bz2 *.ckpt *.ftz *.gz *.h5 *.joblib *.lfs.* *.mlmodel *.model *.msgpack *.npy *.npz *.onnx "
    "*.ot *.parquet *.pb *.pickle *.pkl *.pt *.pth *.rar *.safetensors saved_model/**/* *.tar.* *.tar *.tflite *.tgz "
    "*.wasm *.xz *.zip *.zst *tfevents*"
)
MEDIA = "*.pcm *.sam *.raw *.aac *.flac *.mp3 *.ogg *.wav *.bmp *.gif *.png *.tiff *.jpg *.jpeg *.webp *.mp4 *.webm"
LARGE = "filter=lfs diff=lfs merge=lfs -text"


def default_attributes(kind: str) -> str:
    """What the Hub puts into every new repository."""
    patterns = f"{ALL_KINDS} {MEDIA}" if kind == "dataset" else ALL_KINDS
    return "".join(f"{pattern} {LARGE}\n" for pattern in patterns.split())


def is_large(path: str, size: int, sample: bytes, attributes: str) -> bool:
    """Whether a file is to be uploaded as a large one.

    Args:
        sample: its first bytes.
        attributes: text of .gitattributes.
    """
    patterns = [line.split()[0] for line in attributes.splitlines() if "filter=lfs" in line]
    names = (path, path.rsplit("/", 1)[-1])
    matched = any(fnmatch(name, pattern) for pattern in patterns for name in names)
    return size > 0 and (matched or size > SIZE_LIMIT or b"\0" in sample)

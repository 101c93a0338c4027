"""Real handwritten digits in MNIST's file format, made of what scikit-learn ships, so that nothing is downloaded.

scikit-learn holds 1797 digits of 8 x 8 pixels (the test part of the UCI "Optical Recognition of Handwritten Digits"
data set). They are enlarged to MNIST's 28 x 28 and written as IDX files where ``torchvision.datasets.MNIST`` looks for
them, so the program that reads them is the one for MNIST itself.
"""

from __future__ import annotations

import struct
from pathlib import Path

import numpy as np
import torch
from sklearn.datasets import load_digits
from sklearn.model_selection import train_test_split


def write_digits_as_mnist(root: str | Path, test_fraction: float = 0.2) -> Path:
    """Write the digits below ``root``, unless they are there, and return the folder of the four files.

    Args:
        root: what ``torchvision.datasets.MNIST`` gets as its root.
        test_fraction: how much is held out, the same digits each time.
    """
    folder = Path(root, "MNIST", "raw")
    names = [f"{part}-{kind}-ubyte" for part in ("train", "t10k") for kind in ("images-idx3", "labels-idx1")]
    if all((folder / name).is_file() for name in names):
        return folder
    digits = load_digits()
    images = enlarge(digits.images)
    labels = digits.target.astype(np.uint8)
    parts = train_test_split(images, labels, test_size=test_fraction, random_state=0, stratify=labels)
    train_images, test_images, train_labels, test_labels = parts
    folder.mkdir(parents=True, exist_ok=True)
    for name, array in zip(names, (train_images, train_labels, test_images, test_labels), strict=True):
        write_idx(folder / name, array)
    return folder


def enlarge(images: np.ndarray) -> np.ndarray:
    """Return ``(N, 8, 8)`` pictures of 0..16 as ``(N, 28, 28)`` bytes: three times as large, with MNIST's margin."""
    pixels = torch.from_numpy(images).float()[:, None] / 16 * 255
    larger = torch.nn.functional.interpolate(pixels, size=(24, 24), mode="bicubic").clamp(0, 255)
    return torch.nn.functional.pad(larger, (2, 2, 2, 2))[:, 0].round().to(torch.uint8).numpy()


def write_idx(path: Path, array: np.ndarray) -> None:
    """Write unsigned bytes in the IDX format: two zero bytes, the type 8, the number of dimensions, and their sizes."""
    header = struct.pack(f">BBBB{array.ndim}I", 0, 0, 8, array.ndim, *array.shape)
    path.write_bytes(header + array.astype(np.uint8).tobytes())

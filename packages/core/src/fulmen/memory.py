"""Memory: errors that say there is none left, and giving back what is not used."""

from __future__ import annotations

import gc
from typing import Any

import torch
from torch import Tensor

from fulmen.data.transfer import rebuilt

_WORDS_OF_ERRORS = (
    ("CUDA", "out of memory"),
    ("MPS", "out of memory"),
    ("DefaultCPUAllocator", "memory"),
    ("cuDNN error: CUDNN_STATUS_NOT_SUPPORTED",),  # what cuDNN says where its workspace does not fit
)


def is_oom_error(exception: BaseException) -> bool:
    """Return whether an exception says that a device, or the machine, has no memory left."""
    if isinstance(exception, (torch.OutOfMemoryError, MemoryError)):
        return True
    return isinstance(exception, RuntimeError) and any(
        all(word in str(exception) for word in words) for words in _WORDS_OF_ERRORS
    )


def garbage_collection_cuda() -> None:
    """Collect python's garbage, then give the CUDA memory that nothing uses back to the device."""
    gc.collect()
    if torch.cuda.is_initialized():
        try:
            torch.cuda.empty_cache()
        except RuntimeError as error:
            if not is_oom_error(error):  # a device without memory may fail at this, too; there is nothing to free then
                raise


def recursive_detach(in_dict: Any, to_cpu: bool = False) -> Any:
    """Return a nested collection with its tensors cut off from their graphs, so that these can be freed.

    Args:
        in_dict: a tensor, or lists, tuples, mappings and dataclass objects that hold some.
        to_cpu: move them to the CPU as well.
    """
    if isinstance(in_dict, Tensor):
        detached = in_dict.detach()
        return detached.cpu() if to_cpu else detached
    return rebuilt(in_dict, lambda item: recursive_detach(item, to_cpu))

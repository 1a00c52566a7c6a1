"""Where a model runs."""

import torch


def choose_device(name: str) -> torch.device:
    """`auto` is CUDA if there is any, else the CPU; raises ValueError for a device that is not there."""
    try:
        device = torch.device(("cuda" if torch.cuda.is_available() else "cpu") if name == "auto" else name)
        if device.type not in ("cpu", "cuda"):
            raise RuntimeError("expected auto, cpu or cuda")
        torch.empty(0, device=device)
    except (RuntimeError, AssertionError) as error:
        said = str(error).partition("\n")[0]
        said = "expected auto, cpu or cuda" if "Expected one of" in said else said
        raise ValueError(f"device {name!r} is not available: {said}") from error
    return device

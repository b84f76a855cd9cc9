"""Names of images for the stand-in source of images, shared by the node tests."""

THREE = "sharp.png, blurred.png, noisy.png"
MIXED = "sharp.png, wide.png, small"


def different(count: int, start: int = 0) -> str:
    """Names of this number of different images."""
    return ", ".join(f"random:{seed}" for seed in range(start, start + count))


def arrived(server, names: str) -> list[str]:
    """What the sink shows of these images when they are sent to it directly."""
    source = {"class_type": "Test_Pictures", "inputs": {"names": names, "as_batch": False, "copies": 1}}
    sink = {"class_type": "Test_Arrived", "inputs": {"items": ["1", 0]}}
    return server.run({"1": source, "2": sink}).texts("2")

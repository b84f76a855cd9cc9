"""Chat requests: their body, images as lossless PNG data URLs, and how they are shown to people."""

import base64
import io
from typing import Any

from PIL import Image

from ..images.image import RGBImage


def request_body(
    model: str | None, messages: list[dict], max_tokens: int, temperature: float | None, limit: str = "max_tokens"
) -> dict:
    """What is posted for one conversation; ``limit`` is what the endpoint calls the most tokens of an answer."""
    sampling = {} if temperature is None else {"temperature": temperature}
    return {"model": model, **sampling, limit: max_tokens, "messages": messages}


def image_part(image: RGBImage | Image.Image) -> dict:
    """An image as a part of a message: its decoded pixels as PNG in a data URL, nothing else of its file."""
    file = io.BytesIO()
    pixels = Image.fromarray(image.rgb) if isinstance(image, RGBImage) else image
    pixels.save(file, "PNG")
    data = base64.b64encode(file.getvalue()).decode()
    return {"type": "image_url", "image_url": {"url": f"data:image/png;base64,{data}"}}


def shown_request(body: dict) -> dict:
    """A request for people: the same, with every image replaced by its size in bytes."""

    def shown(part: Any) -> Any:
        if not isinstance(part, dict) or part.get("type") != "image_url":
            return part
        head, data = part["image_url"]["url"].split(",", 1)
        return {"type": "image_url", "image_url": {"url": f"{head},<{len(data) * 3 // 4} bytes>"}}

    def content(value: Any) -> Any:
        return [shown(part) for part in value] if isinstance(value, list) else value

    messages = [{**message, "content": content(message["content"])} for message in body["messages"]]
    return {**body, "messages": messages}

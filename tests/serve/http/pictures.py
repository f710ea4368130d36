"""Pictures that the tests send, good and bad."""

from __future__ import annotations

import base64
import struct
import zlib
from functools import cache
from io import BytesIO
from typing import Any

from PIL import Image, ImageDraw


def drawn(width: int = 64, height: int = 64) -> Image.Image:
    """A red disc on blue."""
    image = Image.new("RGB", (width, height), "blue")
    ImageDraw.Draw(image).ellipse((width // 4, height // 4, 3 * width // 4, 3 * height // 4), "red")
    return image


def half_mask(width: int = 64, height: int = 64) -> Image.Image:
    """Bright on the right half."""
    mask = Image.new("L", (width, height))
    mask.paste(255, (width // 2, 0, width, height))
    return mask


def clear_where(mask: Image.Image, image: Image.Image | None = None) -> Image.Image:
    """A picture that is transparent where a mask is bright."""
    clear = (image or Image.new("RGB", mask.size)).convert("RGBA")
    clear.putalpha(mask.point(lambda value: 255 - value))
    return clear


def file_of(image: Image.Image, kind: str = "PNG", **options: Any) -> bytes:
    buffer = BytesIO()
    image.save(buffer, kind, **options)
    return buffer.getvalue()


def base64_of(data: bytes) -> str:
    return base64.b64encode(data).decode()


def png_of(width: int, height: int, data: bytes, *chunks: tuple[bytes, bytes]) -> bytes:
    """A PNG file whose header says one thing and whose data another."""
    header = struct.pack(">IIBBBBB", width, height, 8, 2, 0, 0, 0)
    parts = [(b"IHDR", header), *chunks, (b"IDAT", data), (b"IEND", b"")]
    return b"\x89PNG\r\n\x1a\n" + b"".join(
        struct.pack(">I", len(body)) + kind + body + struct.pack(">I", zlib.crc32(kind + body))
        for kind, body in parts
    )


@cache
def bad_files() -> dict[str, bytes]:
    """Files that must be refused quickly, by what is wrong with them."""
    rows = b"".join(b"\0" + bytes(3 * 64) for _ in range(64))
    whole = zlib.compress(rows)
    bomb = zlib.compress(bytes(60_000_000))
    text = b"Comment\0\0" + bomb
    frames = [Image.new("RGB", (64, 64), colour) for colour in ("red", "green")]
    return {
        "nothing": b"",
        "a text": b"https://example.com/picture.png",
        "an SVG": b"<svg xmlns='http://www.w3.org/2000/svg' width='64' height='64'/>",
        "a GIF": file_of(drawn(), "GIF"),
        "a BMP": file_of(drawn(), "BMP"),
        "a TIFF": file_of(drawn(), "TIFF"),
        "cut short": file_of(drawn(128, 128), quality=90)[:300],
        "a JPEG cut short": file_of(drawn(128, 128), "JPEG")[:700],
        "a WebP cut short": file_of(drawn(128, 128), "WEBP")[:90],
        "a header alone": file_of(drawn())[:33],
        "zeros after the signature": file_of(drawn())[:8] + bytes(1000),
        "a bomb": png_of(60_000, 60_000, bomb),
        "a header of four billion squared": png_of(2**31 - 1, 2**31 - 1, whole),
        "no width": png_of(0, 64, whole),
        "just too many pixels": png_of(2049, 2048, whole),
        "a text that inflates": png_of(64, 64, whole, (b"zTXt", text)),
        "a profile that inflates": png_of(64, 64, whole, (b"iCCP", b"x\0\0" + bomb)),
        "two frames": file_of(frames[0], save_all=True, append_images=frames[1:]),
    }

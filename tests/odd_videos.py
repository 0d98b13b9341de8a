"""Files of the kinds that turn up in real data sets, made by code: damaged, empty, half, unusual.

``ODD`` names the writer of every kind, how many frames a reader must find (or the words of its
refusal), and what ``videonl check`` must say of it.
"""

import shutil
import struct
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import av
import numpy as np
from av.stream import Disposition

from tests.videos import numbered_frames, write_video

ASSETS = Path(__file__).parent / "assets"
GOP = {"g": "12", "sc_threshold": "0"}
PACKED_MARK = b"\x00\x00\x01\xb2DivX503b1393p"  # user data by which decoders know packed B-frames
DROPPED = b"\x7f"  # what editors write for a frame that is not there


def damaged_middle(path: Path) -> None:
    """The lengths of the NAL units of some frames in the middle are lies."""
    noise = np.random.default_rng(0).integers(0, 255, (50, 48, 64, 3)).astype(np.uint8)
    write_video(path, noise, options={"g": "10", "bf": "0"})
    data = bytearray(path.read_bytes())
    with av.open(str(path)) as container:
        packets = [p for p in container.demux(container.streams.video[0]) if p.size]
        for packet in packets[20:30]:
            data[packet.pos : packet.pos + 4] = b"\xff\xff\xff\xff"
    path.write_bytes(data)


def unordered(path: Path) -> None:
    """Four frames of 50 x 50, decoded in another order than they are shown in."""
    options = {"bf": "2", "b_strategy": "0"}
    write_video(path, numbered_frames(4, 50, 50), fps=32, options=options)


def turned(degrees: int) -> Callable[[Path], None]:
    def write(path: Path) -> None:
        write_video(path, numbered_frames(3, 80, 142), rotation=degrees, options=GOP)

    return write


def one_picture(path: Path) -> None:
    write_video(path, numbered_frames(1, 24, 30), fps=1, codec="gif", pixel_format="rgb8")


def lfs_pointer(path: Path) -> None:
    path.write_text(
        "version https://git-lfs.github.com/spec/v1\noid sha256:" + "1f" * 32 + "\nsize 834219\n",
        encoding="utf-8",
    )


def ordinary(path: Path) -> None:
    write_video(path, numbered_frames(70, 64, 84), fps=28, options={"bf": "3"})


def mpeg4(path: Path) -> None:
    write_video(path, 60, codec="mpeg4", options={"bf": "2"})


def packed_b_frames(path: Path) -> None:
    """As DivX and XviD wrote AVI: two frames in one packet, placeholders; a header that lies by 2.

    A B-frame travels in the packet of the frame it is decoded after, an empty packet follows.
    Two dropped frames at the start count in the header, but nothing decodes from them.
    """
    source = write_video(path.with_stem("source"), 60, codec="mpeg4", options={"bf": "1"})
    with av.open(str(source)) as reader, av.open(str(path), "w") as writer:
        old = reader.streams.video[0]
        new = writer.add_stream_from_template(old)
        new.codec_context.codec_tag = "XVID"
        packets = [(bytes(p), p.is_keyframe) for p in reader.demux(old) if p.size]
        for tick, (data, key) in enumerate(packed([data for data, _ in packets], packets[0][1])):
            packet = av.Packet(data)
            packet.pts = packet.dts = tick
            packet.time_base, packet.is_keyframe, packet.stream = old.time_base, key, new
            writer.mux(packet)
    source.unlink()


def packed(frames: list[bytes], key: bool) -> list[tuple[bytes, bool]]:
    """(packet, whether it starts anew): every B-frame in the packet before it."""
    first = frames[0]
    place = first.index(b"\x00\x00\x01\xb6")
    result = [(first[:place] + PACKED_MARK + first[place:], key), (DROPPED, False)]
    result.append((DROPPED, False))
    index = 1
    while index < len(frames):
        follower = frames[index + 1] if index + 1 < len(frames) else b""
        if follower and kind_of(follower) == "B":
            head = follower[follower.index(b"\x00\x00\x01\xb6") :]
            result += [(frames[index] + head, False), (DROPPED, False)]
            index += 2
        else:
            result.append((frames[index], False))
            index += 1
    return result


def kind_of(frame: bytes) -> str:
    """I, P or B: the first two bits of an MPEG-4 frame."""
    return "IPBS"[frame[frame.index(b"\x00\x00\x01\xb6") + 4] >> 6]


def one_pixel(path: Path) -> None:
    write_video(path, np.full((5, 1, 1, 3), 90, np.uint8), fps=1, pixel_format="yuv444p")


def no_duration(path: Path) -> None:
    """As a browser records: WebM that is written as it is streamed, at a rate of its own."""
    write_video(
        path,
        74,
        codec="libvpx-vp9",
        options={"cpu-used": "8", "g": "20"},
        times=[i + i * i // 40 for i in range(74)],
        container_options={"live": "1"},
    )


def empty(path: Path) -> None:
    path.touch()


def transparent(path: Path) -> None:
    options = {"g": "12", "cpu-used": "8", "auto-alt-ref": "0"}
    write_video(path, 40, codec="libvpx-vp9", pixel_format="yuva420p", options=options)


def sound_alone(path: Path) -> None:
    with av.open(str(path), "w") as container:
        sound = container.add_stream("aac", rate=16000, layout="mono")
        frame = av.AudioFrame.from_ndarray(np.zeros((1, 8000), np.float32), "fltp", "mono")
        frame.sample_rate, frame.pts = 16000, 0
        container.mux([*sound.encode(frame), *sound.encode()])


def header_alone(path: Path) -> None:
    """The first segment of a stream that is sent in pieces."""
    write_video(path, 30, container_options={"movflags": "frag_keyframe+empty_moov"})
    data = path.read_bytes()
    path.write_bytes(data[: data.index(b"moof") - 4])


def one_frame(path: Path) -> None:
    write_video(path, 1)


def cut_short(path: Path) -> None:
    """The table of samples tells of 40 frames, of which the file lost all but eight."""
    noise = np.random.default_rng(0).integers(0, 255, (40, 48, 64, 3)).astype(np.uint8)
    options = {"g": "40", "bf": "0"}
    write_video(path, noise, options=options, container_options={"movflags": "faststart"})
    with av.open(str(path)) as container:
        packets = [p for p in container.demux(container.streams.video[0]) if p.size]
        end = packets[8].pos
    path.write_bytes(path.read_bytes()[:end])


def no_time_scale(path: Path) -> None:
    """A second has 0 ticks: every frame but the first has no time, and FFmpeg shows that one."""
    write_video(path, 30, options={**GOP, "bf": "0"})
    data = bytearray(path.read_bytes())
    place = data.index(b"mdhd") + 4 + 12
    data[place : place + 4] = struct.pack(">I", 0)
    path.write_bytes(data)


def no_times(path: Path) -> None:
    """All frames are at one time, and behind the eighth there is nonsense."""
    noise = np.random.default_rng(0).integers(0, 255, (30, 48, 64, 3)).astype(np.uint8)
    write_video(path, noise, options={"g": "10", "bf": "0"})
    data = bytearray(path.read_bytes())
    with av.open(str(path)) as container:
        packets = [p for p in container.demux(container.streams.video[0]) if p.size]
    for packet in packets[8:]:
        data[packet.pos : packet.pos + 4] = b"\xff\xff\xff\xff"
    place = data.index(b"stts") + 4 + 8 + 4
    data[place : place + 4] = bytes(4)
    path.write_bytes(data)


def copy_av1(path: Path) -> None:
    """A file of tests/assets: nothing here encodes AV1 (tests/scheduling.py says why)."""
    shutil.copy(ASSETS / f"av1{path.suffix}", path)


def ten_bits(path: Path) -> None:
    write_video(path, 30, pixel_format="yuv420p10le", options=GOP)


def hevc(path: Path) -> None:
    write_video(path, 10, fps=10, codec="libx265", options={"x265-params": "log-level=0"})


def high_range(path: Path) -> None:
    """As telephones record: HEVC of ten bits, hybrid log-gamma, the colours of BT.2020."""
    colours = "colorprim=bt2020:transfer=arib-std-b67:colormatrix=bt2020nc"
    options = {"x265-params": f"log-level=0:{colours}"}
    pixels = "yuv420p10le"
    write_video(path, 12, fps=10, codec="libx265", pixel_format=pixels, options=options)


def many_streams(path: Path) -> None:
    """Two video streams, of which the one of more bits counts, and sound."""
    noise = np.random.default_rng(0).integers(0, 255, (36, 96, 96, 3)).astype(np.uint8)
    with av.open(str(path), "w") as container:
        sound = container.add_stream("aac", rate=16000, layout="mono")
        streams = []
        for frames in (numbered_frames(30, 48, 48), noise):
            stream = container.add_stream("libx264", rate=25, options=GOP)
            stream.width = stream.height = frames.shape[1]
            stream.disposition = Disposition.default  # both, as cameras and broadcasters write
            stream.pix_fmt = "yuv420p"
            streams.append((stream, frames))
        frame = av.AudioFrame.from_ndarray(np.zeros((1, 16000), np.float32), "fltp", "mono")
        frame.sample_rate, frame.pts = 16000, 0
        container.mux([*sound.encode(frame), *sound.encode()])
        for index in range(36):
            for stream, frames in streams:
                if index < len(frames):
                    picture = av.VideoFrame.from_ndarray(frames[index], "rgb24")
                    picture.pts = index
                    container.mux(stream.encode(picture))
        for stream, _ in streams:
            container.mux(stream.encode())


def variable_rate(path: Path) -> None:
    times = [0, *np.cumsum(np.random.default_rng(0).integers(1, 16, 59)).tolist()]
    write_video(path, 60, fps=30, pixel_format="yuv444p", options=GOP, times=times)


@dataclass(frozen=True)
class Odd:
    """A kind of file.

    Attributes:
        write: writes it to a path.
        frames: that a reader finds, or words of the refusal.
        status: what ``videonl check`` says.
        damaged: words of the error with which reading all frames ends; None where all are there.
    """

    write: Callable[[Path], None]
    frames: int | str
    status: str = "ok"
    damaged: str | None = None


ODD = {
    "damaged_middle.mp4": Odd(damaged_middle, 50, "damaged", "damaged"),
    "unordered.mov": Odd(unordered, 4),
    "turned_90.mov": Odd(turned(90), 3),
    "turned_180.mov": Odd(turned(180), 3),
    "turned_270.mov": Odd(turned(270), 3),
    "one_picture.gif": Odd(one_picture, 1, "extreme_size"),
    "lfs_pointer.mp4": Odd(lfs_pointer, "a Git LFS pointer", "unreadable"),
    "ordinary.mp4": Odd(ordinary, 70),
    "mpeg4.avi": Odd(mpeg4, 60),
    "packed_b_frames.avi": Odd(packed_b_frames, 60, "frame_count"),
    "-one_pixel-.mp4": Odd(one_pixel, 5, "extreme_size"),
    "no_duration.webm": Odd(no_duration, 74),
    "empty.webm": Odd(empty, "empty", "unreadable"),
    "transparent.webm": Odd(transparent, 40),
    "sound_alone.mp4": Odd(sound_alone, "has no video stream", "no_video"),
    "header_alone.mp4": Odd(header_alone, "no frames", "no_frames"),
    "one_frame.mp4": Odd(one_frame, 1),
    "cut_short.mp4": Odd(cut_short, 8, "truncated"),
    "no_time_scale.mp4": Odd(no_time_scale, 1, "truncated"),
    "no_times.mp4": Odd(no_times, 8, "damaged", "decoding stops"),
    "av1.mkv": Odd(copy_av1, 24),
    "av1.mp4": Odd(copy_av1, 24),
    "ten_bits.mp4": Odd(ten_bits, 30),
    "hevc.mp4": Odd(hevc, 10),
    "high_range.mov": Odd(high_range, 12, "high_range"),
    "many_streams.mp4": Odd(many_streams, 36),
    "variable_rate.mp4": Odd(variable_rate, 60),
}


def write_odd(name: str, folder: Path) -> Path:
    """Write the file of that name into a folder."""
    path = folder / name
    ODD[name].write(path)
    return path

"""The house, drawn from the imports: which room knows which."""

from tests.test_architecture import FLOORS, SOURCES, imports_of, module_name, room_of


def drawing() -> str:
    """A row per room from the top floor down, with a mark below every room that it imports.

    ``▪`` looks down, as all should; ``▴`` looks up.
    """
    rooms = sorted(FLOORS, key=lambda room: (-FLOORS[room], room))
    knows: dict[str, set[str | None]] = {room: set() for room in rooms}
    for path in SOURCES:
        name = module_name(path)
        room = room_of(name)
        if room is not None:
            knows[room] |= {room_of(other) for other in imports_of(path)}
    lines = ["floor  room        imports  " + " ".join(room[:5].ljust(5) for room in rooms)]
    for room in rooms:
        up = [other for other in rooms if FLOORS[other] >= FLOORS[room]]
        marks = ["▪" if other not in up else "▴" for other in rooms]
        cells = [m if o in knows[room] - {room} else "·" for m, o in zip(marks, rooms, strict=True)]
        row = " ".join(cell.ljust(5) for cell in cells).rstrip()
        lines.append(f"{FLOORS[room]:>5}  {room:<10}           {row}")
    return "\n".join(["```text", *lines, "```"])

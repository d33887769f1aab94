"""The 64-bit hash of a text that Spark's ``xxhash64`` gives, with its seed 42.

XXH64 by Yann Collet, as its specification gives it; pure Python, since texts are short.
"""

_MASK = (1 << 64) - 1
_P1, _P2, _P3, _P4, _P5 = (
    0x9E3779B185EBCA87,
    0xC2B2AE3D27D4EB4F,
    0x165667B19E3779F9,
    0x85EBCA77C2B2AE63,
    0x27D4EB2F165667C5,
)
_SEED = 42


def xxhash64(text: str) -> int:
    """The hash as a signed 64-bit number."""
    data = text.encode()
    length, place = len(data), 0
    if length >= 32:
        lanes = [_SEED + _P1 + _P2, _SEED + _P2, _SEED, _SEED - _P1]
        while place + 32 <= length:
            for lane in range(4):
                lanes[lane] = _round(lanes[lane], _word(data, place + 8 * lane, 8))
            place += 32
        turns = zip(lanes, (1, 7, 12, 18), strict=True)
        value = sum(_rotated(lane & _MASK, turn) for lane, turn in turns) & _MASK
        for lane in lanes:
            value = ((value ^ _round(0, lane)) * _P1 + _P4) & _MASK
    else:
        value = _SEED + _P5
    value = (value + length) & _MASK
    while place + 8 <= length:
        value ^= _round(0, _word(data, place, 8))
        value = (_rotated(value, 27) * _P1 + _P4) & _MASK
        place += 8
    if place + 4 <= length:
        value ^= _word(data, place, 4) * _P1 & _MASK
        value = (_rotated(value, 23) * _P2 + _P3) & _MASK
        place += 4
    for byte in data[place:]:
        value ^= byte * _P5 & _MASK
        value = _rotated(value, 11) * _P1 & _MASK
    value = (value ^ value >> 33) * _P2 & _MASK
    value = (value ^ value >> 29) * _P3 & _MASK
    value ^= value >> 32
    return value - (1 << 64) if value >> 63 else value


def _word(data: bytes, place: int, size: int) -> int:
    return int.from_bytes(data[place : place + size], "little")


def _rotated(value: int, turn: int) -> int:
    return (value << turn | value >> (64 - turn)) & _MASK


def _round(lane: int, word: int) -> int:
    return _rotated((lane + word * _P2) & _MASK, 31) * _P1 & _MASK

"""A second implementation of how a transform's input becomes requests, for TestAgainstTheReference: python3 reference.py SEED COUNT

It makes objects at random, intact and damaged ones, and writes for each a line of JSON: the object, the settings, and the
bodies of the requests that the contract asks for (BT-50 to BT-74, BT-80 to BT-82, BT-94 to BT-98), or where the object
fails. It is written from the contract alone and shares nothing with the program. Python's standard library only.
"""
import base64
import gzip
import json
import random
import struct
import sys

MAGIC = b"\x0a\x23\xd7\xce"


class Bad(Exception):
    """The object fails at this record; where there is more than one reason, at each of these offsets."""

    def __init__(self, record, *offsets):
        super().__init__(record, offsets)
        self.record, self.offsets = record, list(offsets)


# TFRecord: BT-67 to BT-69.

TABLE = []
for n in range(256):
    for _ in range(8):
        n = n >> 1 ^ (0x82F63B78 if n & 1 else 0)
    TABLE.append(n)


def masked(data):
    c = 0xFFFFFFFF
    for byte in data:
        c = TABLE[(c ^ byte) & 0xFF] ^ c >> 8
    c ^= 0xFFFFFFFF
    return ((c >> 15 | c << 17 & 0xFFFFFFFF) + 0xA282EAD8) & 0xFFFFFFFF


def tfrecord_write(payload):
    length = struct.pack("<Q", len(payload))
    return length + struct.pack("<I", masked(length)) + payload + struct.pack("<I", masked(payload))


def tfrecord_read(data):
    at = 0
    record = 0
    while at < len(data):
        record += 1
        head = data[at : at + 12]
        if len(head) < 12:
            raise Bad(record, at)
        length, check = struct.unpack("<QI", head)
        if check != masked(head[:8]):
            raise Bad(record, at)
        end = at + 12 + length + 4
        announced = end - at
        if end > len(data):
            yield record, at, None, announced, length
            raise Bad(record, at)
        payload = data[at + 12 : end - 4]
        if struct.unpack("<I", data[end - 4 : end])[0] != masked(payload):
            yield record, at, None, announced, length
            raise Bad(record, at)
        yield record, at, payload, announced, length
        at = end


# RecordIO: BT-60 to BT-66.


def recordio_part(flag, payload):
    return MAGIC + struct.pack("<I", flag << 29 | len(payload)) + payload + bytes(-len(payload) % 4)


def recordio_write(payload):
    """As the writer of dmlc does it: the record is cut at each magic word at a multiple of four."""
    pieces, start = [], 0
    for at in range(0, len(payload) - 3, 4):
        if payload[at : at + 4] == MAGIC:
            pieces.append(payload[start:at])
            start = at + 4
    pieces.append(payload[start:])
    if len(pieces) == 1:
        return recordio_part(0, payload)
    flags = [1] + [2] * (len(pieces) - 2) + [3]
    return b"".join(recordio_part(f, p) for f, p in zip(flags, pieces))


def recordio_read(data):
    at = 0
    record = 0
    while at < len(data):
        record += 1
        start, pieces, seen, size = at, [], 0, 0
        while True:
            head = data[at : at + 8]

            def bad():
                # It may be over the limit before it is seen to be damaged: a header at least is still to come.
                yield record, start, None, at + 8 - start, size
                raise Bad(record, at)

            if len(head) < 8 or head[:4] != MAGIC:
                yield from bad()
            word = struct.unpack("<I", head[4:])[0]
            flag, length = word >> 29, word & (1 << 29) - 1
            if flag not in ((0, 1) if not pieces else (2, 3)):
                yield from bad()
            end = at + 8 + length + -length % 4
            if end > len(data):
                size += length + (4 if pieces else 0)
                yield record, start, None, end - start, size
                raise Bad(record, at)
            pieces.append(data[at + 8 : at + 8 + length])
            size += length + (4 if len(pieces) > 1 else 0)
            at = end
            if flag in (0, 3):
                break
        payload = MAGIC.join(pieces)
        yield record, start, payload, at - start, len(payload)


# Line: BT-51 to BT-58.


def line_read(data):
    at = 0
    record = 0
    while at < len(data):
        record += 1
        end = data.find(b"\n", at) + 1 or len(data)
        yield record, at, data[at:end], end - at, end - at
        at = end


READ = {"Line": line_read, "RecordIO": recordio_read, "TFRecord": tfrecord_read}


def requests(data, split, strategy, limit, keep):
    """The bodies, in order; Bad ends them. limit 0 is none: streamed."""
    if split == "None":
        if data:
            if limit and len(data) > limit:
                raise Bad(0, 0)
            yield data
        return
    if strategy == "MultiRecord":
        if limit == 0:  # one request, whatever is in it (BT-98)
            if data:
                yield data
            return
        batch, begin = 0, 0
        try:
            for record, at, payload, frame, _ in READ[split](data):
                if frame > limit:
                    raise Bad(record, at, *beyond(data, split, record))
                if payload is None:
                    continue  # damaged: the reader says so next
                if batch + frame > limit:
                    yield data[begin : begin + batch]
                    begin, batch = begin + batch, 0
                batch += frame
        except Bad:
            if batch:  # what comes before it goes out
                yield data[begin : begin + batch]
            raise
        if batch:
            yield data[begin : begin + batch]
        return
    for record, at, payload, frame, size in READ[split](data):
        if limit and (frame if keep else size) > limit:
            raise Bad(record, at, *beyond(data, split, record))
        if payload is not None:
            yield data[at : at + frame] if keep else payload


def beyond(data, split, record):
    """Where a damaged record says that it is damaged."""
    try:
        for _ in READ[split](data):
            pass
    except Bad as e:
        if e.record == record:
            return e.offsets
    return []


# Random objects.


def payload(rnd):
    size = rnd.choice([0, 0, 1, 2, 3, 4, 5, 7, 8, 16, 31, 64, rnd.randrange(200), rnd.randrange(3000)])
    data = bytearray(rnd.randbytes(size))
    while size >= 4 and rnd.random() < 0.3:
        at = rnd.randrange(size - 3)
        if rnd.random() < 0.7:
            at -= at % 4
        data[at : at + 4] = MAGIC
    return bytes(data)


def line(rnd):
    body = payload(rnd).replace(b"\n", b"")
    return body + rnd.choice([b"\n", b"\n", b"\n", b"\r\n"])


def damaged(rnd, data):
    data = bytearray(data)
    kind = rnd.randrange(4)
    if kind == 0 and data:
        data[rnd.randrange(len(data))] ^= 1 << rnd.randrange(8)
    elif kind == 1:
        del data[rnd.randrange(len(data) + 1) :]
    elif kind == 2:
        at = rnd.randrange(len(data) + 1)
        data[at:at] = rnd.randbytes(rnd.randrange(1, 9))
    elif data:
        at = rnd.randrange(len(data))
        del data[at : at + rnd.randrange(1, 9)]
    return bytes(data)


def case(rnd):
    split = rnd.choice(["Line", "RecordIO", "TFRecord", "Line", "RecordIO", "TFRecord", "None"])
    strategy = rnd.choice(["SingleRecord", "MultiRecord"])
    keep = rnd.random() < 0.15
    count = rnd.choice([0, 1, 2, 3, rnd.randrange(40), rnd.randrange(200)])
    if split == "RecordIO":
        records = [recordio_write(payload(rnd)) for _ in range(count)]
    elif split == "TFRecord":
        records = [tfrecord_write(payload(rnd)) for _ in range(count)]
    else:
        records = [line(rnd) for _ in range(count)]
    data = b"".join(records)
    if split == "Line" and rnd.random() < 0.3:
        data = data.removesuffix(b"\n")
    if rnd.random() < 0.3:
        data = damaged(rnd, data)
    longest = max(map(len, records), default=1)
    limit = rnd.choice([0, longest - 1, longest, longest + 1, longest + rnd.randrange(5000), rnd.randrange(1, 4000), max(1, len(data) - 1), len(data), len(data) + 1, 1 << 20])
    limit = max(limit, 0)
    packed = data
    compression = rnd.choice(["None", "None", "Gzip"])
    if compression == "Gzip":
        cut = rnd.choice([0, rnd.randrange(len(data) + 1)])
        packed = b"".join(gzip.compress(part, 1) for part in ([data[:cut], data[cut:]] if cut else [data]))
    bodies, fail = [], None
    try:
        for body in requests(data, split, strategy, limit, keep):
            bodies.append(body)
    except Bad as e:
        fail = {"record": e.record, "offsets": e.offsets}
    text = lambda b: base64.b64encode(b).decode()
    return {"split": split, "strategy": strategy, "limit": limit, "keep": keep, "compression": compression, "object": text(packed), "bodies": [text(b) for b in bodies], "fail": fail}


def main():
    rnd = random.Random(int(sys.argv[1]))
    for _ in range(int(sys.argv[2])):
        print(json.dumps(case(rnd)))


if __name__ == "__main__":
    main()

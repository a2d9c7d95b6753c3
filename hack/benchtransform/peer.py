"""A batch transform as one writes it with requests: python3 peer.py URL INPUT OUTPUT STRATEGY CONCURRENCY LIMIT TRUST

STRATEGY is single, a line a request, or multi, whole lines up to LIMIT bytes. The responses go into OUTPUT in the order of
the input. TRUST 0 keeps requests from looking into the environment for proxies at each request.
"""
import collections
import concurrent.futures
import sys
import threading

import requests

HEADERS = {"Content-Type": "text/csv", "Accept": "text/csv"}


def single(f, limit):
    for line in f:
        if len(line) > limit:
            raise ValueError("a record is over the limit")
        yield line


def multi(f, limit):
    rest = b""
    while True:
        data = rest + f.read(limit - len(rest))
        if not data:
            return
        cut = len(data)
        if cut == limit:
            cut = data.rfind(b"\n") + 1
            if cut == 0:
                raise ValueError("a record is over the limit")
        yield data[:cut]
        rest = data[cut:]


def main():
    url, source, target, strategy, concurrency, limit, trust = sys.argv[1:]
    concurrency, limit = int(concurrency), int(limit)
    own = threading.local()

    def session():
        s = requests.Session()
        s.trust_env = trust == "1"
        return s

    def post(session, body):
        r = session.post(url, data=body, headers=HEADERS)
        r.raise_for_status()
        return r.content

    def work(body):
        if not hasattr(own, "session"):
            own.session = session()
        return post(own.session, body)

    with open(source, "rb") as f, open(target, "wb") as out:
        bodies = {"single": single, "multi": multi}[strategy](f, limit)
        if concurrency == 1:
            one = session()
            for body in bodies:
                out.write(post(one, body))
            return
        with concurrent.futures.ThreadPoolExecutor(concurrency) as pool:
            under_way = collections.deque()
            for body in bodies:
                under_way.append(pool.submit(work, body))
                if len(under_way) == 2 * concurrency:
                    out.write(under_way.popleft().result())
            for f in under_way:
                out.write(f.result())


if __name__ == "__main__":
    main()

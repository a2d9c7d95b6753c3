"""Match texts against patterns with Python's re, which has what RE2 lacks.

Each line of stdin is {"pattern": ..., "texts": [...]}; each line of stdout the list of what matches whole.
"""
import json
import re
import sys

for line in sys.stdin:
    q = json.loads(line)
    p = re.compile(q["pattern"], re.ASCII)
    print(json.dumps([p.fullmatch(t) is not None for t in q["texts"]]))

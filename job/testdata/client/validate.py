"""Hold requests against botocore's model, as a client does before it sends one.

Each line of stdin is {"operation": ..., "document": {...}}; each line of stdout is the list of what is wrong with it:
[kind, path], kind one of required, type, minimum, unknown. The first line of stdout is botocore's version.
"""
import json
import sys

import botocore
from botocore.loaders import Loader
from botocore.model import ServiceModel
from botocore.validate import ParamValidator

KINDS = {
    "missing required field": "required",
    "invalid type": "type",
    "invalid range": "minimum",
    "invalid length": "minimum",
    "unknown field": "unknown",
}

model = ServiceModel(Loader().load_service_model("sagemaker", "service-2"))
validator = ParamValidator()
print(json.dumps(botocore.__version__))
for line in sys.stdin:
    request = json.loads(line)
    shape = model.operation_model(request["operation"]).input_shape
    found = []
    for reason, path, more in validator.validate(request["document"], shape)._errors:
        member = more.get("required_name") or more.get("unknown_param")
        found.append([KINDS[reason], ".".join(p for p in (path, member) if p).lstrip(".")])
    print(json.dumps(found))

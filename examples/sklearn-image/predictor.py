"""The web application of `serve`: CSV rows of features in, one predicted label a row out."""
import csv
import io
import json
import os

import flask
import joblib

FOLDER = os.path.join(os.environ.get("OPTML_EXAMPLE_ROOT", "/opt/ml"), "model")

app = flask.Flask(__name__)
with open(os.path.join(FOLDER, "model.json")) as f:
    about = json.load(f)
model = joblib.load(os.path.join(FOLDER, "model.joblib"))
model.n_jobs = 1  # the workers are the parallelism
model.predict([[0.0] * about["features"]])  # the first call is slow: have it before /ping says 200


@app.get("/ping")
def ping():
    return "", 200


@app.get("/execution-parameters")
def parameters():
    workers = int(os.environ.get("MODEL_SERVER_WORKERS", 0)) or min(4, len(os.sched_getaffinity(0)))
    return {"MaxConcurrentTransforms": workers, "BatchStrategy": "MULTI_RECORD", "MaxPayloadInMB": 6}


def refuse(status, text):
    return flask.Response(text + "\n", status, mimetype="text/plain")


@app.post("/invocations")
def invocations():
    if flask.request.mimetype != "text/csv":
        return refuse(415, f"Content-Type {flask.request.mimetype or 'none'}: only text/csv is understood")
    try:
        text = flask.request.get_data().decode("utf-8")
    except UnicodeDecodeError as e:
        return refuse(400, f"the body is not UTF-8: {e}")
    rows = []
    for number, row in enumerate(csv.reader(io.StringIO(text)), 1):
        if not row:
            continue
        try:
            rows.append([float(v) for v in row])
        except ValueError:
            return refuse(400, f"line {number}: not a row of numbers")
        if len(row) != about["features"]:
            return refuse(400, f"line {number}: {len(row)} values, the model has {about['features']} features")
    labels = [str(v) for v in model.predict(rows)] if rows else []
    if flask.request.accept_mimetypes.best_match(["text/csv", "application/json"], "text/csv") == "application/json":
        return flask.Response(json.dumps({"predictions": labels}), mimetype="application/json")
    # No newline at the end: AssembleWith Line adds one after each answer, so that the output has a line for a row.
    return flask.Response("\n".join(labels), mimetype="text/csv")

"""Run one call of whatever huggingface_hub is on the path, and print what came of it as JSON.

python hub.py '{"call", "url", "file", "as", "extra", "timeout", "token"}'
"""

import base64
import json
import sys
from pathlib import Path
from typing import Any

import huggingface_hub
from huggingface_hub import InferenceClient


def sent(given: dict[str, Any]) -> Any:
    """Return the recording as a path, bytes, or an open file."""
    path = given["file"]
    if given.get("as") == "bytes":
        return Path(path).read_bytes()
    return open(path, "rb") if given.get("as") == "file" else path


def run(given: dict[str, Any]) -> Any:
    """Make the call."""
    url, call = given["url"], given["call"]
    # Only the newer ones know providers, and these answer for their health only if one is named.
    named = {"provider": "hf-inference"} if call in ("health_check", "get_endpoint_info") else {}
    client = InferenceClient(timeout=given.get("timeout"), token=given.get("token"), **named)
    if call == "health_check":
        return client.health_check(url)
    if call == "get_endpoint_info":
        return client.get_endpoint_info(model=url)
    if call == "get_model_status":
        return client.get_model_status(url).__dict__
    if call == "post":
        audio = base64.b64encode(Path(given["file"]).read_bytes()).decode()
        body = {"inputs": audio, "parameters": given["extra"]}
        found = huggingface_hub.AutomaticSpeechRecognitionOutput.parse_obj_as_instance(
            client.post(json=body, model=url)
        )
    else:
        extra = {"extra_body": given["extra"]} if given.get("extra") else {}
        found = client.automatic_speech_recognition(sent(given), model=url, **extra)
    first = found.chunks[0] if found.chunks else None
    times = None if first is None else {name: getattr(first, name, None) for name in ("timestamp", "timestamps")}
    return {"text": found.text, "n_chunks": len(found.chunks or ()), "times": times}


def main() -> None:
    """Print {"version", "result"}, or {"version", "error", "kind", "status"}."""
    told: dict[str, Any] = {"version": huggingface_hub.__version__}
    try:
        told["result"] = run(json.loads(sys.argv[1]))
    except Exception as error:  # whatever it is, the test looks at it
        told |= {"error": str(error), "kind": type(error).__name__}
        told["status"] = getattr(getattr(error, "response", None), "status_code", None)
    print(json.dumps(told))


if __name__ == "__main__":
    main()

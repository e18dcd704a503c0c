"""`python -m alignment_limits.config.schema`: the study file's JSON schema, for completion in editors."""

import json

from alignment_limits.config.study import Study


def schema_text() -> str:
    return json.dumps(Study.model_json_schema(), indent=1) + "\n"


if __name__ == "__main__":
    print(schema_text(), end="")

"""Says which instances are valid, by Python's jsonschema: a line of {"schema", "instances"} in, a line of true and false out."""

import json
import sys

import jsonschema

for line in sys.stdin:
    task = json.loads(line)
    schema = task["schema"]
    validator = jsonschema.validators.validator_for(schema)
    validator.check_schema(schema)
    checked = validator(schema)
    print(json.dumps([checked.is_valid(instance) for instance in task["instances"]]), flush=True)

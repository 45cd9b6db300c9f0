"""Verdicts by fastjsonschema or jsonschema, as mim_bench::validator::peer asks for them."""

import json
import os
import sys
import time


def lines(folder, name):
    with open(os.path.join(folder, name), encoding="utf-8") as file:
        return [json.loads(line) for line in file]


def judge_of(name, schema):
    """A function from bytes to verdict."""
    if name == "fastjsonschema":
        import fastjsonschema

        validate = fastjsonschema.compile({**schema, "$schema": "http://json-schema.org/draft-07/schema#"})

        def judge(text):
            try:
                validate(json.loads(text))
                return True
            except fastjsonschema.JsonSchemaException:
                return False

        return judge
    import jsonschema

    validator = jsonschema.Draft202012Validator(schema, format_checker=jsonschema.FormatChecker())
    return lambda text: validator.is_valid(json.loads(text))


def main():
    name, folder = sys.argv[1:3]
    entities = [(line["model"], json.dumps(line["entity"], ensure_ascii=False).encode()) for line in lines(folder, "entities.ndjson")]
    types = 1 + max(model for model, _ in entities)
    judges = [judge_of(name, model["normalized"]) for model in lines(folder, "models.ndjson")[:types]]
    for line in sys.stdin:
        if line.strip() == "verdicts":
            print("".join("1" if judges[model](text) else "0" for model, text in entities), flush=True)
            continue
        end, before, count = time.monotonic() + float(line), time.process_time(), 0
        while time.monotonic() < end:
            # One round may be longer than the time that is left, so the clock is asked for each.
            for model, text in entities:
                judges[model](text)
                count += 1
                if time.monotonic() >= end:
                    break
        print(json.dumps({"count": count, "cpu": time.process_time() - before}), flush=True)


main()

"""Exports HuggingFace models to TorchScript, with the eager outputs they must reproduce.

In: jobs (`job.py`) as JSON on stdin, one per model. Out: one event per line on stdout, and per model a folder
with `program.pt`, `cases.safetensors` and `manifest.json`.

The path of one job, file by file:

    start       runs a module in a process that ends with who started it
    __main__    reads the request, keeps stdout for events
    runner      forks one process per job, reports what became of it
    job         what a job says
    export      the steps of one job, in order
    prepared    a job                      ->  its models and their inputs, before anything is taken from them
    model       class, config and weights  ->  an eager model
    attention   the eager model          ->  the same as it is served, and what masks hide of its outputs
    foreign     a class of another package ->  its eager model, with a config that the rest can read
    inputs      a case                     ->  named input tensors
    situations  the traced inputs          ->  what checks make of them
    reference   model + inputs             ->  eager outputs in fp32, fp64 and half precision, and eager's own error
    rounding    an eager run               ->  the same as on another processor
    choices     the same                   ->  with choices made the other way that rounding can turn
    rule        exact outputs, errors     ->  how far an output may be off
    contract    outputs                    ->  nothing, or the promise that they break
    program     model + traced case        ->  TorchScript
    portable    a traced graph             ->  the same for any device
    generation  model                      ->  the tokens of greedy decoding
    cache       what generate leaves     ->  its tensors by name, and an empty one to put them into
    once        what no step is given      ->  what is held of it, and what a step makes of that
    decoding    model, its own cache       ->  the programs that decode with a cache, and the row that they are held to
    faults      a fault's name             ->  a program that is wrong in that one way
    adapters    a model type               ->  patches without which its class cannot be traced
    weights     a program                  ->  digests; parameters that move no output
    artifact    all of it                  ->  files, whole or not at all
"""

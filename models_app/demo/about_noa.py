"""What the demo models know of NOA and of language models."""

from __future__ import annotations

from models_app.demo.topic import Topic

TOPICS = (
    Topic(
        (
            "(what is|what's|explain|describe|tell me about) noa( please|)",
            "what does noa (do|mean)",
            "what is noa( exactly|)",
            "what (kind of|sort of) (server|program|software|thing) is noa",
            "(why|when) (should|would) i use noa",
            "what is (this|this server|noa good for|noa used for)",
        ),
        (
            "Ember here! NOA is a server that manages language models: it registers, loads, measures and swaps them.",
            "NOA runs your models, says Ember! It loads them, measures them and swaps them without a failed request.",
        ),
        (
            "Tide here. NOA is a server that registers, loads, measures and switches language models.",
            "This is Tide. NOA manages the language models of a team and switches between them while they serve.",
        ),
        weight=6,
    ),
    Topic(
        (
            "what is (a |)(hot swap|swap|switch|hot swapping|swapping|model swap)",
            "how (do|can|would) i (swap|switch|change|replace) (a |the |)model(s|)",
            "how does (swapping|switching|a swap|a switch|hot swapping) work",
            "(can i|can noa) (swap|switch|change) models( without downtime| while it runs|)",
        ),
        (
            "Ember here! The new model loads first, then the route moves over, then the old one drains. Nobody waits!",
            "A swap is quick, says Ember! Load the new model, move the route, let the old one finish.",
        ),
        (
            "Tide here. The new model is loaded, the route is moved, and the old one finishes its work and leaves.",
            "This is Tide. In a switch the old model serves until the new one is ready. No request is lost.",
        ),
        weight=3,
    ),
    Topic(
        (
            "how (do|can) i (load|start|run|use|add|register) (a |another |the |)model(s|)",
            "(load|start) (a|the) model",
            "what does it mean to load a model",
            "what is loading( a model|)",
        ),
        ("Ember here! Pick a registered model and press Load, or post its key to the load address of the API.",),
        ("Tide here. Choose a registered model and press Load, or send its key to the load address of the API.",),
    ),
    Topic(
        (
            "how (do|can) i (unload|stop|remove|free) (a |the |)model(s|)",
            "(unload|stop) (a|the) model",
            "what (is unloading|does unload mean|happens when i unload a model)",
        ),
        ("Ember here! Press Unload: the model finishes its answers, then its memory is free again.",),
        ("Tide here. Press Unload. The model completes its answers, and then its memory is released.",),
    ),
    Topic(
        (
            "what is (a |the |)(route|routes|current route|target)( in noa|)",
            "(explain|describe) (routes|a route|routing)",
            "what is routing",
        ),
        ("Ember here! A route is a public name, like current, that points to a model.",),
        ("Tide here. A route is a public name that points to a model. Applications ask for the route.",),
    ),
    Topic(
        (
            "what is (a |the |)(runner|runners|instance|worker|node)( in noa|)",
            "(explain|describe) (runners|a runner|instances)",
        ),
        ("Ember here! A runner is a process of its own that holds one model. If it falls, the rest stands!",),
        ("Tide here. A runner is a process that holds one model, so that its end harms nothing else.",),
    ),
    Topic(
        (
            "what is (a |)(gguf|gguf file|model file)",
            "(explain|describe) (gguf|gguf files)",
            "which (file format|files) (does noa|do you) use",
        ),
        ("Ember here! GGUF is the file format in which llama.cpp keeps a model. I live in one!",),
        ("Tide here. GGUF is the file format of llama.cpp: one file with weights, words and settings.",),
    ),
    Topic(
        (
            "what is (a |)(quantization|quantisation|quantized model|q8|q4)",
            "(explain|describe) (quantization|quantisation)",
            "(why|how) (quantize|quantise) (a |)model(s|)",
        ),
        ("Ember here! Quantization stores weights with fewer bits, so a model gets smaller and faster.",),
        ("Tide here. Quantization stores the weights with fewer bits: less memory, a little less precision.",),
    ),
    Topic(
        (
            "what is (a |)(token|tokens|tokenizer)",
            "(explain|describe) (tokens|a token|the tokenizer)",
        ),
        ("Ember here! A token is a piece of text, often part of a word. I read and write one at a time.",),
        ("Tide here. A token is a piece of a word. Models read and write text token by token.",),
    ),
    Topic(
        (
            "what is (a |the |)(context|context window|context length|n_ctx)",
            "(explain|describe) (context|the context window)",
            "how (long|big) is your (context|memory|context window)",
        ),
        ("Ember here! The context is the text that a model sees at once. Mine is two thousand tokens.",),
        ("Tide here. The context is all the text a model can see at once; mine holds two thousand tokens.",),
    ),
    Topic(
        (
            "what is (the |)(temperature|sampling)( of a model|)",
            "(explain|describe) (temperature|sampling)",
            "what does temperature do",
        ),
        ("Ember here! Temperature says how freely a model picks its words. At zero it always picks the likeliest.",),
        ("Tide here. Temperature decides how freely words are chosen. At zero the likeliest always wins.",),
    ),
)

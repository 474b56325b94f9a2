"""Heads: short lists of layers that turn features into class scores.

A preset is a TOML file, of `heads/` or of the user's own. Its `[[layers]]` are layers of `torch.nn` and of
`zoo.layers` with their arguments; a `[pool]` stands in the place of the model's own pool. The words `features` and
`classes` stand for the numbers of the model at hand: how many features come in (behind a pool: come out of it), and
how many scores are wanted. On a map of features, as in squeezenet, each linear layer becomes the 1×1 convolution that
computes the same at every place.

Three parts: `known` says what each layer takes, `presets` reads files and fits them to a model, both without torch;
`building` makes modules.
"""

"""Files of weights that anybody wrote: looked at before anything of them is believed, allocated or run.

`headers` reads safetensors, `archives` and `pickles` what torch saves, `claims` what such a pickle says of its
tensors, `standins` what it may name. `pickled` opens a file of any of these kinds, `folders` one of transformers,
`modules` a whole model that its user trusts. `wrappings` finds the weights inside, `describing` tells what is there.
"""

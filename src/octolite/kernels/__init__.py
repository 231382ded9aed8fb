"""Compiled kernels: LLVM IR written from Python, for the CPU at hand.

::

    spec       what may be asked for: requests, plain data (loading it loads no compiler)
    select     from a request to a kernel: ``build``; whether int8 pays
    layers     fully connected, convolution, depthwise: constants packed once, steps per shape
    winograd   3×3 convolutions where the CPU multiplies int16 pairs
    recurrent  recurrent layers: one product for the inputs, then cells that step through them
    expression, maps   functions of elements, alone and in chains: what there is, and its loop
    pool, softmax, normalize, reduce, resize   other operators without weights
    lookup     rows of a table by their numbers
    views, copy   whatever moves elements, as copies between strided views
    dot, depthwise, cell, prepare, walk   the code of the steps, and of the threads that run them
    isa        one row per instruction set: its vectors and its dot-product tiles
    pack       weights in the order in which tiles read them
    simd       the builder that all of them are written with; maths, its functions; record,
               the arguments of a kernel; clamp, fused activations
    jit        LLVM IR to addresses, with objects kept on disk
    launch     a kernel laid out for one shape
    peak       what this machine can do at most, measured

A new instruction set is a row in ``isa``; a new operator is a request in ``spec``, its code and
its layer, and a line in ``select``. Import modules from here one by one: the package itself loads
nothing, so that converting a model needs no compiler.
"""

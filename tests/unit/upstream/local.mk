# Unit tests of layer upstream, one program per module.

# Unit tests of layer proc, one program per module.

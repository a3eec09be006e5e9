# Unit tests of layer base, one program per module.

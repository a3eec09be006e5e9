# Unit tests of layer watch, one program per module.

# Unit tests of layer conf, one program per module.

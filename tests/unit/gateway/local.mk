# Unit tests of layer gateway, one program per module.

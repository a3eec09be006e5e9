# Unit tests of layer api, one program per module.

# Unit tests of layer http, one program per module.

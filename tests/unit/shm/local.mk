# Unit tests of layer shm, one program per module.

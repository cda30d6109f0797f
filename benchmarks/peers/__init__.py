"""One file per library: functions that prepare (load, convert, warm up) and return what is timed.

Libraries are imported inside, in the process of the contestant, so that none disturbs another and each may be absent.
Every `transcriber` takes a checkpoint's folder and a recording (float32 samples at 16 kHz in an .npy file) and
returns a function that gives the text.
"""

/* libbcc includes this file; the program needs nothing of it. */

/* Asked for by libbcc; nothing of it is needed. */

"""What the processes that read untrusted model files and templates may do. Linux; standard library only."""

"""What lies on disk: the contract between export, engines and runtime."""

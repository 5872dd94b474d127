"""Programs as files for other runtimes: ONNX. Imported when something is exported, not before."""

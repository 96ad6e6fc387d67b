"""The jobs that measure: distances, embeddings, scores of single images and filtering by them; tables and plots."""

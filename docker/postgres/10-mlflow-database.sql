-- Runs once, when the database volume is new. The image itself creates the database `prefect`.
CREATE DATABASE mlflow;

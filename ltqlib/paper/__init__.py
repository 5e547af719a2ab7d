"""What only the book needs: numbers in its prose, tables, figures, claims."""

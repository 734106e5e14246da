//! A table that fits its terminal: columns that matter least go first.

use console::measure_text_width;

/// Space between two columns.
const GAP: usize = 2;

/// A column with its cells.
pub(super) struct Column {
    pub(super) head: &'static str,
    pub(super) cells: Vec<String>,
    pub(super) align: Align,
    /// What goes first when there is no room: the greatest.
    pub(super) spare: u8,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Align {
    Left,
    Right,
}

impl Column {
    fn width(&self) -> usize {
        let cells = self.cells.iter().map(|cell| measure_text_width(cell));
        cells.chain([self.head.len()]).max().unwrap_or(0)
    }
}

/// The lines, the head first; columns are left out until it fits into `room`.
pub(super) fn lines(mut columns: Vec<Column>, room: Option<usize>) -> Vec<String> {
    let width = |columns: &[Column]| -> usize {
        columns
            .iter()
            .map(|c| c.width() + GAP)
            .sum::<usize>()
            .saturating_sub(GAP)
    };
    while let Some(room) = room
        && width(&columns) > room
        && let Some(most) = columns.iter().map(|c| c.spare).max().filter(|s| *s > 0)
    {
        columns.retain(|column| column.spare != most);
    }
    let rows = columns.iter().map(|c| c.cells.len()).max().unwrap_or(0);
    let line = |cell: &dyn Fn(&Column) -> String| {
        let cells = columns.iter().map(|column| {
            let text = cell(column);
            let space = " ".repeat(column.width().saturating_sub(measure_text_width(&text)));
            match column.align {
                Align::Left => format!("{text}{space}"),
                Align::Right => format!("{space}{text}"),
            }
        });
        let line = cells.collect::<Vec<_>>().join(&" ".repeat(GAP));
        line.trim_end().to_owned()
    };
    let head = line(&|column| column.head.to_owned());
    let body =
        (0..rows).map(|row| line(&|column| column.cells.get(row).cloned().unwrap_or_default()));
    std::iter::once(head).chain(body).collect()
}

/// Breaks `text` into lines of at most `room`, at spaces; later lines begin with `indent` spaces.
pub(in crate::cluster) fn wrapped(text: &str, indent: usize, room: Option<usize>) -> Vec<String> {
    let Some(room) = room.filter(|room| *room > indent + 20) else {
        return vec![text.to_owned()];
    };
    let mut lines = Vec::new();
    let mut line = String::new();
    for word in text.split_inclusive(' ') {
        let is_full = measure_text_width(&line) + measure_text_width(word.trim_end()) > room;
        if is_full && !line.trim().is_empty() {
            lines.push(line.trim_end().to_owned());
            line = " ".repeat(indent);
        }
        line.push_str(word);
    }
    lines.push(line.trim_end().to_owned());
    lines
}

#[cfg(test)]
mod tests {
    use super::*;

    fn column(head: &'static str, cells: [&str; 2], align: Align, spare: u8) -> Column {
        Column {
            head,
            cells: cells.map(str::to_owned).to_vec(),
            align,
            spare,
        }
    }

    #[test]
    fn what_matters_least_goes_first() {
        let columns = || {
            vec![
                column("NODE", ["node1", "node10"], Align::Left, 0),
                column("LAG", ["0 B", "12.5 MB"], Align::Right, 1),
                column("STATUS", ["PRI", "HS:sync"], Align::Left, 2),
            ]
        };
        let all = [
            "NODE        LAG  STATUS",
            "node1       0 B  PRI",
            "node10  12.5 MB  HS:sync",
        ];
        assert_eq!(lines(columns(), None), all);
        assert_eq!(lines(columns(), Some(24)), all);
        let fewer = ["NODE        LAG", "node1       0 B", "node10  12.5 MB"];
        assert_eq!(lines(columns(), Some(23)), fewer);
        assert_eq!(lines(columns(), Some(3)), ["NODE", "node1", "node10"]);
    }

    #[test]
    fn long_lines_are_broken_at_spaces_and_indented() {
        let text = "lock   a sentence that is too long for one line of thirty";
        assert_eq!(wrapped(text, 7, None), [text]);
        assert_eq!(
            wrapped(text, 7, Some(30)),
            [
                "lock   a sentence that is too",
                "       long for one line of",
                "       thirty"
            ]
        );
        let one_word = "x".repeat(60);
        assert_eq!(wrapped(&one_word, 2, Some(30)), [one_word]);
    }
}

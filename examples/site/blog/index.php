<?php
// What follows the name of the script in a path is its PATH_INFO.
$post = htmlspecialchars(trim($_SERVER['PATH_INFO'] ?? '', '/')) ?: 'everything';
?>
<!doctype html>
<link rel="stylesheet" href="/static/style.css">
<title>Blog</title>
<h1>A blog, written in PHP</h1>
<p>You are reading <?= $post ?>, at <?= htmlspecialchars($_SERVER['SCRIPT_NAME']) ?>.
<p><a href="<?= htmlspecialchars($_SERVER['SCRIPT_NAME']) ?>/anvils">On anvils</a>

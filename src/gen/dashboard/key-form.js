import{b as e,t}from"./html.js";import{k as n}from"./app.js";function r(){let[n,r]=e(``),a=()=>{i(n.trim()),location.reload()};return t`<div class="pane first">
<h1>This server asks for a key</h1>
<p class="t2">An API key whose <code>can</code> has <code>read</code>, to look, or <code>manage</code> too, to act. It is kept in this tab until the tab is closed.</p>
<div class="fields"><label>Key <input type="password" autocomplete="off" onInput=${e=>r(e.target.value)} onKeyDown=${e=>e.key===`Enter`&&a()} /></label><button class="solid" onClick=${a}>Use it</button></div>
</div>`}function i(e){e===``?sessionStorage.removeItem(`sluice.key`):sessionStorage.setItem(`sluice.key`,e),n.needsKey=!1}export{r as KeyForm};